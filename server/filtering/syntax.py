"""The language of filters: AIP-160 (https://google.aip.dev/160), read into a small tree.

    genres:Comedy year >= 1990 AND NOT title:"part ii"

A filter is a sequence of conditions that all must hold. OR binds tighter than AND, as
AIP-160 wants it: `a AND b OR c` is `a AND (b OR c)`. What fields there are and what may
be asked of them is for `fields` to say; here no name has a meaning yet.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeAlias

from deepmoviematch.server.errors import FilterError, shown

MAX_BYTES = 4000
MAX_CONDITIONS = 50
"""Each star counts as a condition more: it has to be looked for as well."""

MAX_DEPTH = 32
"""How many of AND, OR and NOT may stand around a condition, each inside the other."""

_KEPT = 256
"""Trees that are kept at hand: for the batch that is being read, and for the next generation."""

_GRAMMAR = r"""
?expression: sequence
           | sequence (_AND sequence)+ -> conjunction
?sequence: factor
         | factor factor+ -> conjunction
?factor: term
       | term (_OR term)+ -> disjunction
?term: simple
     | (_NOT | MINUS) simple -> negation
?simple: value -> word
       | value COMPARATOR argument -> comparison
       | "(" expression ")"
?argument: value
         | MINUS value -> negative
         | "(" expression ")"
value: TEXT | STRING | CALL

_AND.2: /AND(?![^\s()"])/
_OR.2: /OR(?![^\s()"])/
_NOT.2: /NOT(?![^\s()"])/
MINUS: "-"
COMPARATOR: /[<>!]=|[<>=:]/
STRING: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/s
CALL.1: /(?![-'])(?:[^\s(),"=<>:!]|!(?!=))+(?=\()/
TEXT: /(?![-'])(?:[^\s(),"=<>:!]|!(?!=))+/
%ignore /\s+/
"""

_ESCAPE = re.compile(r"\\(.)|(\*+)", re.DOTALL)
_ESCAPED = "\"'\\*"
_JOINTS = {"and", "or", "not"}


@dataclass(frozen=True, slots=True)
class Value:
    """A name or an argument."""

    text: str
    """Without quotes and escapes."""

    pieces: tuple[str, ...]
    """What stands between the wildcards; `text` alone where there are none."""

    at: int
    """Where it begins in the filter: characters, the first is 1."""

    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """A value that stands alone."""

    value: Value


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field, an operator (= != < <= > >= :) and a value to compare with."""

    field: Value
    operator: str
    value: Value

    at: int
    """Where the operator is."""


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    part: "Expression"


@dataclass(frozen=True, slots=True)
class And:
    """All of some conditions."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of some conditions."""

    parts: tuple["Expression", ...]


Expression: TypeAlias = Word | Comparison | Not | And | Or


@lru_cache(_KEPT)
def parse(text: str) -> Expression:
    """The tree of a filter that is not blank, in time that grows with its length.

    Raises:
        FilterError: If it is not of the language, or beyond a bound.
    """
    if (size := len(text.encode())) > MAX_BYTES:
        raise FilterError(f"must be at most {MAX_BYTES} bytes", str(size), at=1)
    tree = _parser()(text)
    _check_bounds(tree)
    _refuse_lower_case(tree)
    return _spread(tree)


def count_conditions(text: str) -> int:
    """How many conditions and stars the filter `text` has; 0 where it is blank or at fault."""
    try:
        return sum(len(leaf.value.pieces) for leaf, _ in _leaves(parse(text))) if text.strip() else 0
    except FilterError:
        return 0


def comparisons(tree: Expression) -> list[Comparison]:
    """What a tree compares, from left to right."""
    return [leaf for leaf, _ in _leaves(tree) if isinstance(leaf, Comparison)]


@dataclass(frozen=True, slots=True)
class _Group:
    """A field compared with several values: `genres:(Comedy OR Drama)`."""

    field: Value
    operator: str
    values: Expression
    at: int


def _parts(tree: Any) -> tuple[Any, ...]:
    match tree:
        case And(parts) | Or(parts):
            return parts
        case Not(part) | _Group(values=part):
            return (part,)
    return ()


def _nodes(tree: Any) -> Iterator[tuple[Any, int]]:
    """A tree and all that is below, from left to right, and how deep each one is."""
    ahead = [(tree, 0)]
    while ahead:  # not by recursion: nobody knows yet how deep it goes
        node, depth = ahead.pop()
        yield node, depth
        ahead += [(part, depth + 1) for part in reversed(_parts(node))]


def _leaves(tree: Any) -> list[tuple[Any, int]]:
    """The conditions of a tree from left to right, and how deep each one is."""
    return [(node, depth) for node, depth in _nodes(tree) if not _parts(node)]


def _check_bounds(tree: Any) -> None:
    count = 0
    for leaf, depth in _leaves(tree):
        at = (leaf.value if isinstance(leaf, Word) else leaf.field).at
        count += len(leaf.value.pieces)
        if count > MAX_CONDITIONS:
            rule = f"must have at most {MAX_CONDITIONS} conditions and stars"
            cure = "name items in candidate_item_ids or exclude_item_ids"
            raise FilterError(rule, "another", at=at, cure=cure)
        if depth > MAX_DEPTH:
            raise FilterError(f"must be at most {MAX_DEPTH} deep", "a deeper condition", at=at)


def _refuse_lower_case(tree: Any) -> None:
    """Where something is compared, a plain "or" between conditions will hardly be the word of a title."""
    nodes = [node for node, _ in _nodes(tree)]
    if not any(isinstance(node, Comparison | _Group) for node in nodes):
        return
    for node in nodes:
        if not isinstance(node, And):
            continue
        # `x:a OR not y:b` is read as `(x:a OR not) y:b`.
        ends = [part.parts[-1] for part in node.parts[:-1] if isinstance(part, Or)]
        for part in (*node.parts, *ends):
            if isinstance(part, Word) and not part.value.quoted and part.value.text.lower() in _JOINTS:
                text, at = part.value.text, part.value.at
                cure = f"write {text.upper()}, or put the word of a title in quotes"
                raise FilterError("must have AND, OR and NOT in capitals", shown(text), at=at, cure=cure)


def _spread(tree: Any, group: _Group | None = None) -> Expression:
    """`tree` with every group turned into comparisons."""
    match tree:
        case And(parts) | Or(parts):
            return type(tree)(tuple(_spread(part, group) for part in parts))
        case Not(part):
            return Not(_spread(part, group))
        case Word(value) if group is not None:
            return Comparison(group.field, group.operator, value, group.at)
        case Comparison(field) | _Group(field) if group is not None:
            raise FilterError("must have plain values in these parentheses", shown(field.text), at=field.at)
        case _Group():
            return _spread(tree.values, tree)
    leaf: Expression = tree
    return leaf


@cache
def _parser() -> Callable[[str], Any]:
    """Parses filters; the library is loaded when the first one comes."""
    import lark  # noqa: PLC0415

    class Trees(lark.Transformer[lark.Token, Any]):
        """Builds the tree bottom up, while the parser reads."""

        def value(self, tokens: list[lark.Token]) -> Value:
            return _value(tokens[0])

        def negative(self, parts: list[Any]) -> Value:
            minus, value = parts
            return Value(f"-{value.text}", (f"-{value.pieces[0]}", *value.pieces[1:]), minus.start_pos + 1)

        def word(self, parts: list[Value]) -> Word:
            return Word(parts[0])

        def comparison(self, parts: list[Any]) -> Comparison | _Group:
            field, operator, argument = parts
            at = operator.start_pos + 1
            if isinstance(argument, Value):
                return Comparison(field, str(operator), argument, at)
            if operator not in {"=", ":"}:
                raise FilterError("must have = or : before parentheses", shown(operator), at=at)
            return _Group(field, str(operator), argument, at)

        def negation(self, parts: list[Any]) -> Not:
            return Not(parts[-1])

        def conjunction(self, parts: list[Any]) -> And:
            return And(tuple(parts))

        def disjunction(self, parts: list[Any]) -> Or:
            return Or(tuple(parts))

    parser = lark.Lark(_GRAMMAR, start="expression", parser="lalr", lexer="basic", transformer=Trees())

    def parse_with(text: str) -> Any:
        try:
            return parser.parse(text)
        except lark.UnexpectedToken as error:
            raise _misplaced(error.token, error.expected, len(text)) from None
        except lark.UnexpectedCharacters as error:
            raise _unreadable(text, error.pos_in_stream or 0) from None

    return parse_with


def _value(token: Any) -> Value:
    at = token.start_pos + 1
    if token.type == "CALL":
        raise FilterError("must not call functions", shown(f"{token}("), at=at, cure="put it in quotes")
    quoted = token.type == "STRING"
    if not quoted:
        text = str(token)
        return Value(text, tuple(re.split(r"\*+", text)), at)
    pieces, end = [""], 1
    for found in _ESCAPE.finditer(token, 1, len(token) - 1):
        pieces[-1] += token[end : found.start()]
        end = found.end()
        if found[2]:
            pieces.append("")
        elif found[1] in _ESCAPED:
            pieces[-1] += found[1]
        else:
            rule = "must have one of \" ' \\ * after a backslash"
            raise FilterError(rule, shown(found[1]), at=at + found.start(1))
    pieces[-1] += token[end:-1]
    return Value("*".join(pieces), tuple(pieces), at, quoted)


def _misplaced(token: Any, expected: set[str], end: int) -> FilterError:
    """What is wrong with a token, given the ones that could be in its place."""
    at, got = (end + 1, "the end") if token.type == "$END" else (token.start_pos + 1, shown(token))
    if "TEXT" not in expected:
        rule = "must close every parenthesis, and none twice"
    elif token.type == "COMPARATOR" and "_NOT" in expected:
        rule = "must have a field on the left of an operator"
    else:
        what = "condition" if "_NOT" in expected or "MINUS" not in expected else "value"
        rule = f"must have a {what}"
    return FilterError(rule, got, at=at)


def _unreadable(text: str, place: int) -> FilterError:
    """What is wrong with the character at `place`, with which no token begins."""
    rule = "must have quotes around a comma" if text[place] == "," else "must close every quote"
    return FilterError(rule, shown(text[place:]), at=place + 1)
