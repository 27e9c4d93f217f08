import pytest
from hypothesis import given, strategies as st

from deepmoviematch.data.cells import (
    column_cells,
    parse_column,
    parse_genres,
    parse_id,
    parse_number,
    parse_rating,
    parse_time,
    parse_title,
    parse_year,
)
from deepmoviematch.data.columns import Kind, Value
from deepmoviematch.data.leniency import BrokenRowError


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Justice League (2008)  ", "Justice League", 2008),
        ("Big Bang Theory, The (2007-)", "Big Bang Theory, The", 2007),
        ("Death Note (2006–2007)", "Death Note", 2006),
        ("Babylon (5) (1993 - 1998)", "Babylon (5)", 1993),
        ("Moonlight(2016)", "Moonlight", 2016),
        ("1984 (1956)", "1984", 1956),
        ("Twice (1990) (1991)", "Twice (1990)", 1991),
        ("Blade Runner 2049", "Blade Runner 2049", 0),
        ("2001: A Space Odyssey", "2001: A Space Odyssey", 0),
        ("The 4400 (4400)", "The 4400 (4400)", 0),
        ("Room (12)", "Room (12)", 0),
        ("(1995)", "(1995)", 0),
        ("(1995) Toy", "(1995) Toy", 0),
        ("", "", 0),
    ],
)
def test_title_ends_where_the_year_begins(text: str, title: str, year: int) -> None:
    assert parse_title(text) == (title, year)


@given(st.text(max_size=20), st.integers(1000, 2100))
def test_title_and_year_written_out_read_back_the_same(text: str, year: int) -> None:
    title, first = parse_title(text)
    assert parse_title(f"{title} ({first})" if first else title) == (title, first)
    if title:
        assert parse_title(f"{title} ({year})") == (title, year)


@pytest.mark.parametrize(
    ("text", "year"), [("1995", 1995), (" 1995.0 ", 1995), ("1000", 1000), ("2100", 2100), ("", 0), ("  ", 0)]
)
def test_a_year_is_whole_or_not_told(text: str, year: int) -> None:
    assert parse_year(text) == year


@pytest.mark.parametrize("text", ["999", "2101", "1995.5", "nan", "inf", "-1995", "V", "1995-11", "１９９５"])
def test_what_is_no_year_is_refused(text: str) -> None:
    with pytest.raises(
        BrokenRowError, match="a year must be a whole number from 1000 to 2100, or left empty"
    ):
        parse_year(text)


@pytest.mark.parametrize(
    ("text", "genres"),
    [
        ("Drama", ["Drama"]),
        ("Sci-Fi| Film, Noir |Children's", ["Sci-Fi", "Film, Noir", "Children's"]),
        ("(no genres listed)", []),
        ("", []),
        ("|", []),
    ],
)
def test_genres_are_split_at_bars(text: str, genres: list[str]) -> None:
    assert parse_genres(text) == genres


@pytest.mark.parametrize(
    ("text", "number"), [("4.0", 4), (" 3 ", 3), ("-1e-2", -0.01), (".5", 0.5), ("5.", 5), ("+2", 2)]
)
def test_number_is_decimal(text: str, number: float) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text", ["", " ", "four", "nan", "NaN", "inf", "-Infinity", "1_0", "0x10", "1,5", "４", "1 2"]
)
def test_rating_must_be_a_finite_number(text: str) -> None:
    with pytest.raises(BrokenRowError) as caught:
        parse_rating(text)
    assert caught.value.rule == "a rating must be a finite number"
    assert caught.value.got == repr(text)


@pytest.mark.parametrize("text", ["1e39", "-3.5e38", "1e308", "1e999"])
def test_rating_must_fit_the_tables(text: str) -> None:
    with pytest.raises(BrokenRowError) as caught:
        parse_rating(text)
    assert caught.value.rule == "a rating must be from -3.4e+38 to 3.4e+38"


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("964982703000", "divide milliseconds by 1000"),
        ("964982703000000", "divide microseconds by 1000000"),
        ("1970-01-02", "write dates as seconds, this one as 86400"),
        ("1970-01-02T01:00:00+01:00", "write dates as seconds, this one as 86400"),
        ("1960-01-01", ""),
        ("2100-01-01", ""),
        ("9" * 20, ""),
        ("soon", ""),
        ("-1", ""),
        ("1.5", ""),
    ],
)
def test_only_a_time_in_another_unit_and_a_date_have_a_cure(text: str, cure: str) -> None:
    with pytest.raises(BrokenRowError) as caught:
        parse_time(text)
    assert caught.value.cure == cure


@pytest.mark.parametrize(("text", "time"), [("0", 0), ("964982703", 964982703), ("964982703.0", 964982703)])
def test_time_is_whole_seconds(text: str, time: int) -> None:
    assert parse_time(text) == time


@pytest.mark.parametrize("text", ["", "-1", "1.5", "964982703000", "1e300", "nan", "yesterday", "4102444800"])
def test_time_must_be_whole_seconds_of_our_age(text: str) -> None:
    with pytest.raises(BrokenRowError, match="timestamp"):
        parse_time(text)


def test_id_stays_as_written() -> None:
    assert parse_id("0318", "movie") == "0318"


@pytest.mark.parametrize("text", ["", "  "])
def test_id_must_not_be_empty(text: str) -> None:
    with pytest.raises(BrokenRowError, match="a user id must not be empty"):
        parse_id(text, "user")


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", " 2.5 ", "", "-1e3"], Kind.NUMBER, (1.0, 2.5, None, -1000.0)),
        (["0", "0.5", "10"], Kind.NUMBER, (0.0, 0.5, 10.0)),
        (["007", "12"], Kind.TEXT, ("007", "12")),
        (["9007199254740992", "-3"], Kind.NUMBER, (2.0**53, -3.0)),
        (["9007199254740993", "-3"], Kind.TEXT, ("9007199254740993", "-3")),
        (["9007199254740994.0", "1e30"], Kind.NUMBER, (2.0**53 + 2, 1e30)),
        (["1", "nan"], Kind.TEXT, ("1", "nan")),
        (["1" * 400, "2"], Kind.TEXT, ("1" * 400, "2")),
        (["True", "false", ""], Kind.BOOLEAN, (True, False, None)),
        (["true", "yes"], Kind.TEXT, ("true", "yes")),
        (["true", "1"], Kind.TEXT, ("true", "1")),
        (["a| b ||", "c", "", "|"], Kind.LIST, (("a", "b"), ("c",), None, None)),
        (["1|2", "3"], Kind.LIST, (("1", "2"), ("3",))),
        (["", " "], Kind.TEXT, (None, None)),
    ],
)
def test_a_column_is_of_the_kind_that_all_its_cells_look_like(
    cells: list[str], kind: Kind, values: tuple[Value, ...]
) -> None:
    column = parse_column("of mine", cells)
    assert (column.name, column.kind, column.values) == ("of mine", kind, values)


cells_of_any_kind = st.sampled_from(["1", "0.5", "true", "False", "a|b", "x|", "007", "9" * 16, "9.1e15", ""])


@given(st.lists(st.text(max_size=4) | cells_of_any_kind))
def test_a_column_written_out_reads_back_the_same(cells: list[str]) -> None:
    column = parse_column("of mine", cells)
    again = parse_column("of mine", column_cells(column))
    assert (again.kind, again.values) == (column.kind, column.values)


@pytest.mark.parametrize("name", ["title", "Year", "AVERAGE_RATING", "item_id"])
def test_a_column_named_like_a_field_is_called_otherwise(name: str) -> None:
    assert parse_column(name, ["1"]).name == f"movies.{name}"
