"""Filters are read as AIP-160 says, and what is wrong with one is said with the place."""

import threading

import pytest
from hypothesis import given, strategies as st

from deepmoviematch.server.errors import FilterError
from deepmoviematch.server.filtering.syntax import (
    MAX_BYTES,
    MAX_CONDITIONS,
    MAX_DEPTH,
    And,
    Comparison,
    Expression,
    Not,
    Or,
    Word,
    count_conditions,
    parse,
)


def written(tree: Expression) -> str:
    """The tree with every parenthesis, for people."""
    match tree:
        case And(parts):
            return f"({' & '.join(map(written, parts))})"
        case Or(parts):
            return f"({' | '.join(map(written, parts))})"
        case Not(part):
            return f"!{written(part)}"
        case Word(value):
            return value.text
        case Comparison(field, operator, value):
            return f"{field.text}{operator}{value.text}"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a", "a"),
        ("a b", "(a & b)"),
        ("a AND b", "(a & b)"),
        ("a OR b", "(a | b)"),
        ("a AND b OR c", "(a & (b | c))"),
        ("a OR b AND c", "((a | b) & c)"),
        ("a b OR c d", "(a & (b | c) & d)"),
        ("a b AND c d", "((a & b) & (c & d))"),
        ("a AND b AND c OR d OR e", "(a & b & (c | d | e))"),
        ("(a AND b) OR c", "((a & b) | c)"),
        ("NOT a b", "(!a & b)"),
        ("NOT a OR b", "(!a | b)"),
        ("-a -b", "(!a & !b)"),
        ("NOT (a b)", "!(a & b)"),
        ("-(a OR b) c", "(!(a | b) & c)"),
        ("x=1", "x=1"),
        ("x = 1 y != 2", "(x=1 & y!=2)"),
        ("x<=1.5 OR -x > -2e3", "(x<=1.5 | !x>-2e3)"),
        ("NOT x:a AND y:*", "(!x:a & y:*)"),
        ("x:(a OR b)", "(x:a | x:b)"),
        ("x:(a b -c)", "(x:a & x:b & !x:c)"),
        ("NOT x = (1 OR (2 3))", "!(x=1 | (x=2 & x=3))"),
        ("(((a)))", "a"),
        ("a-b AND-c", "(a-b & AND-c)"),
        ("ANDROID ORB NOTE", "(ANDROID & ORB & NOTE)"),
        ("NOT(a)OR(b)", "(!a | b)"),
        ('a AND"b c" OR"d" NOT"e"', "(a & ((b c | d) & !e))"),
        ('x:a "or" b', "(x:a & or & b)"),
        ("x:or AND y:(not)", "(x:or & y:not)"),
        ('x:(a "or" b)', "(x:a & x:or & x:b)"),
        ("\ta\n\u00a0b ", "(a & b)"),
        ("x:sci-fi rock'n'roll Oliver! Amélie", "(x:sci-fi & rock'n'roll & Oliver! & Amélie)"),
        ('"a b"', "a b"),
        ("'a \"b\"'", 'a "b"'),
        (r'"say \"no\" \\ \' \*"', 'say "no" \\ \' *'),
        ('"AND" "a, (b)"', "(AND & a, (b))"),
        ('"Box office":5', "Box office:5"),
        ("and or not", "(and & or & not)"),
        ("a.b = c.d", "a.b=c.d"),
    ],
)
def test_a_filter_is_read_as_the_standard_says(text: str, tree: str) -> None:
    assert written(parse(text)) == tree


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("star*", ("star", "")),
        ("*star", ("", "star")),
        ("*", ("", "")),
        ("a**b***", ("a", "b", "")),
        ('"*a b*"', ("", "a b", "")),
        (r'"M\*A\*S\*H*"', ("M*A*S*H", "")),
        ('""', ("",)),
        ("star", ("star",)),
    ],
)
def test_stars_stand_for_any_text_unless_escaped(text: str, pieces: tuple[str, ...]) -> None:
    tree = parse(text)
    assert isinstance(tree, Word)
    assert tree.value.pieces == pieces


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("a AND", 6, "must have a condition, got the end at character 6"),
        ("OR a", 1, 'must have a condition, got "OR"'),
        ("a OR AND b", 6, 'must have a condition, got "AND"'),
        ("NOT", 4, "must have a condition, got the end"),
        ("NOT NOT a", 5, 'must have a condition, got "NOT"'),
        ("--a", 2, 'must have a condition, got "-"'),
        ("()", 2, 'must have a condition, got ")"'),
        ("é (a", 5, "must close every parenthesis, and none twice, got the end"),
        ("a)", 2, 'must close every parenthesis, and none twice, got ")"'),
        ("x =", 4, "must have a value, got the end"),
        ("x > = 5", 5, 'must have a value, got "="'),
        ("x > AND y", 5, 'must have a value, got "AND"'),
        ("> 5", 1, 'must have a field on the left of an operator, got ">"'),
        ("x = 5 = 6", 7, 'must have a field on the left of an operator, got "="'),
        ("(a) = 5", 5, 'must have a field on the left of an operator, got "="'),
        ("x > (1 OR 2)", 3, 'must have = or : before parentheses, got ">"'),
        ("x:(a y:b)", 6, 'must have plain values in these parentheses, got "y"'),
        ("x:(a (y:(b c)))", 7, 'must have plain values in these parentheses, got "y"'),
        ("a match(b)", 3, 'must not call functions, got "match(" at character 3; put it in quotes'),
        ("Matrix, The", 7, 'must have quotes around a comma, got ", The"'),
        ('x:"a b', 3, r'must close every quote, got "\"a b"'),
        ("x:'a", 3, 'must close every quote, got "\'a"'),
        (r'x:"a\n"', 6, 'must have one of " \' \\ * after a backslash, got "n"'),
        ("x:a and y:b", 5, 'must have AND, OR and NOT in capitals, got "and" at character 5; write AND, or'),
        ("x:a (not y:b)", 6, 'must have AND, OR and NOT in capitals, got "not"'),
        ("x:a Or y:b", 5, 'must have AND, OR and NOT in capitals, got "Or" at character 5; write OR, or'),
        ("Not x:a", 1, 'must have AND, OR and NOT in capitals, got "Not"'),
        ("x:a AND not b", 9, 'must have AND, OR and NOT in capitals, got "not"'),
        ("x:a OR not y:b", 8, 'must have AND, OR and NOT in capitals, got "not"'),
        ("x:(a or b)", 6, 'must have AND, OR and NOT in capitals, got "or"'),
        ("x:(not a)", 4, 'must have AND, OR and NOT in capitals, got "not"'),
        ("x:(a (b aNd c))", 9, 'must have AND, OR and NOT in capitals, got "aNd"'),
        ("x" * (MAX_BYTES + 1), 1, "must be at most 4000 bytes, got 4001"),
        ("é" * (MAX_BYTES // 2) + "e", 1, "must be at most 4000 bytes, got 4001"),
        ("a " * (MAX_CONDITIONS + 1), 101, "must have at most 50 conditions and stars, got another at"),
        ("a*b*c " * 17, 97, "must have at most 50 conditions and stars, got another at character 97; name"),
        ("-(a " * 17 + "b" + ")" * 17, 67, "must be at most 32 deep, got a deeper condition"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, at: int, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)
    assert caught.value.at == at


def test_the_bounds_may_be_reached() -> None:
    assert count_conditions("a " * MAX_CONDITIONS) == MAX_CONDITIONS
    assert count_conditions("-(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH) == 1
    assert count_conditions("(" * 1900 + "a" + ")" * 1900) == 1
    assert count_conditions("x" * MAX_BYTES) == 1


def test_nothing_is_counted_where_there_is_no_filter() -> None:
    assert [count_conditions(text) for text in ("", " \n", "a AND", "x:(a OR b) c", "*a* x=b*")] == [
        0,
        0,
        0,
        3,
        5,
    ]


TOKENS = [
    "a",
    "AND",
    "OR",
    "NOT",
    "-",
    "(",
    ")",
    "x:",
    "=",
    '"b c"',
    "'",
    '"',
    "\\",
    "*",
    ",",
    "f(",
    " ",
    "\u2028",
]


@given(st.lists(st.sampled_from(TOKENS) | st.text(max_size=3), max_size=12).map("".join))
def test_whatever_comes_is_read_or_refused_at_a_place_in_it(text: str) -> None:
    try:
        parse(text)
    except FilterError as refusal:
        places = range(1, len(text) + 2)
        assert refusal.at in places  # noqa: PT017 - that it is read is as good
    else:
        assert 1 <= count_conditions(text) <= len(text) + 1


@pytest.mark.parametrize("opening", ["(", "-(", "NOT (", "x:(", "a (", "a OR -(b ("])
@pytest.mark.parametrize("closing", ["", ")"])
def test_deep_filters_cost_no_stack(opening: str, closing: str) -> None:
    depth = (MAX_BYTES - 1) // (len(opening) + len(closing) * opening.count("("))
    text = opening * depth + "a" + closing * opening.count("(") * depth
    if closing and opening == "(":
        assert count_conditions(text) == 1
    else:
        with pytest.raises(FilterError):
            parse(text)


def test_any_number_of_threads_may_parse_at_once() -> None:
    texts = [f"x:(a{number} OR b) AND NOT y = {number} (c d)" for number in range(200)]
    expected = [written(parse.__wrapped__(text)) for text in texts]
    found: list[list[str]] = []

    def read() -> None:
        found.append([written(parse.__wrapped__(text)) for text in texts])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
