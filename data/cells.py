"""What a cell of text means: ids, ratings, times, titles with their year, genres, anything else."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from deepmoviematch.data.catalogue import UNKNOWN_YEAR
from deepmoviematch.data.columns import Column, Kind, Value
from deepmoviematch.data.context import device_name
from deepmoviematch.data.leniency import BrokenRowError

NO_GENRES = "(no genres listed)"
"""MovieLens' own words for an empty list of genres."""

LATEST_TIME = 4_102_444_800
"""The year 2100 in seconds since 1970; a larger number is in another unit."""

MILLISECONDS, MICROSECONDS = (1e11, 1e14), (1e14, 1e17)
"""Between these a time looks like milliseconds or microseconds since 1970."""

YEARS = range(1000, 2101)
"""What is taken for a year of release."""

LARGEST = float(np.finfo(np.float32).max)
"""What the tables can hold of a number, either way from zero."""

MAX_ID_BYTES = 256
"""Longer ids could not be sent in a request."""

FIELDS = ("item_id", "title", "year", "genres", "popularity", "average_rating", "rating_count")
"""What filters ask of any item; a column by such a name is called `movies.` and that name."""

SEPARATOR = "|"
"""Stands between genres, and between the entries of any other list."""

TIME_RULE = "a timestamp must be whole seconds since 1970, before the year 2100"
RATING_RULE = "a rating must be a finite number"
BOUND = f"from {-LARGEST:.1e} to {LARGEST:.1e}"
YEAR_RULE = f"a year must be a whole number from {YEARS[0]} to {YEARS[-1]}, or left empty where it is unknown"

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
_LEADING_ZERO = re.compile(r"0\d")
_EXACT = 2**53
"""Of larger whole numbers, float64 takes some for each other."""
_UNKNOWN = {"na", "n/a", "nan", "null", "none"}
"""How programs write a number that is not known."""

_BOOLEANS = {"true": True, "false": False}
_TITLE_AND_YEAR = re.compile(r"(?P<title>.*\S)\s*\((?P<year>\d{4})(\s*[-–—]\s*(\d{4})?)?\)", re.DOTALL)


def parse_id(text: str, of: str) -> str:
    """An id as written; `of` says whose, for the message.

    Raises:
        BrokenRowError: If there is none, or it is too long.
    """
    if not text.strip():
        raise BrokenRowError(f"a {of} id must not be empty", repr(text))
    if (size := len(text.encode())) > MAX_ID_BYTES:
        raise BrokenRowError(f"a {of} id must have at most {MAX_ID_BYTES} bytes", f"{size}: {text[:40]}...")
    return text


def parse_device(text: str) -> str:
    """What something was rated on, in lower case; empty where it is not known.

    Raises:
        BrokenRowError: If it is too long.
    """
    if (size := len(text.encode())) > MAX_ID_BYTES:
        raise BrokenRowError(f"a device must have at most {MAX_ID_BYTES} bytes", f"{size}: {text[:40]}...")
    return device_name(text)


def parse_number(text: str) -> float:
    """The number that `text` writes in ASCII digits; NaN where it is none."""
    return float(text) if _NUMBER.fullmatch(text) else np.nan


def parse_rating(text: str) -> float:
    """A rating, finite as float32 too.

    Raises:
        BrokenRowError: If it is not.
    """
    rating = parse_number(text)
    if not abs(rating) <= LARGEST:  # NaN as well
        raise BrokenRowError(RATING_RULE if math.isnan(rating) else f"a rating must be {BOUND}", repr(text))
    return rating


def parse_time(text: str) -> int:
    """Whole seconds since 1970.

    Raises:
        BrokenRowError: If they are not whole, or before 1970, or after the year 2099.
    """
    time = parse_number(text)
    if not (0 <= time < LATEST_TIME and time == int(time)):
        raise BrokenRowError(TIME_RULE, repr(text), cure=_cure_of_time(text, time))
    return int(time)


def _cure_of_time(text: str, time: float) -> str:
    """What makes seconds of a time in another unit or of a date; empty where it is neither."""
    if MILLISECONDS[0] <= time < MILLISECONDS[1]:
        return "divide milliseconds by 1000"
    if MICROSECONDS[0] <= time < MICROSECONDS[1]:
        return "divide microseconds by 1000000"
    try:
        date = datetime.fromisoformat(text.strip())
    except ValueError:
        return ""
    seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    known = math.isnan(time) and 0 <= seconds < LATEST_TIME
    return f"write dates as seconds, this one as {seconds:.0f}" if known else ""


def parse_title(text: str) -> tuple[str, int]:
    """Title and year of "Toy Story (1995)"; of a range of years, the first.

    A year is four digits in brackets at the very end, from 1000 to 2100; without
    one the year is `UNKNOWN_YEAR`.
    """
    text = text.strip()
    found = _TITLE_AND_YEAR.fullmatch(text)
    if found is None or int(found["year"]) not in YEARS:
        return text, UNKNOWN_YEAR
    return found["title"], int(found["year"])


def parse_year(text: str) -> int:
    """The year in a cell of its own, `UNKNOWN_YEAR` for an empty one.

    Raises:
        BrokenRowError: If it is not whole, or none of `YEARS`.
    """
    if not text.strip():
        return UNKNOWN_YEAR
    year = parse_number(text)
    if not (YEARS[0] <= year <= YEARS[-1] and year == int(year)):
        raise BrokenRowError(YEAR_RULE, repr(text))
    return int(year)


def parse_genres(text: str) -> list[str]:
    """The genres of "Comedy|Drama"; none for an empty cell or MovieLens' words for it."""
    names = (name.strip() for name in text.split(SEPARATOR))
    return [name for name in names if name and name != NO_GENRES]


def parse_column(name: str, cells: Sequence[str]) -> Column:
    """The column that `cells` [N] write, of the kind that they look like.

    Numbers and `true` or `false` are taken for that if all are; 007 looks like a name, and so does a
    whole number of so many digits that it would be mixed up with its neighbours.
    One `|` anywhere makes lists of all. An empty cell is unknown.
    """
    name = f"movies.{name}" if name.casefold() in FIELDS else name
    cells = [cell.strip() for cell in cells]
    known = set(cells) - {""}
    if known and all(math.isfinite(parse_number(cell)) for cell in known):
        if not any(map(_looks_like_a_name, known)):
            return Column(name, Kind.NUMBER, tuple(float(cell) if cell else None for cell in cells))
    elif known and all(cell.lower() in _BOOLEANS for cell in known):
        return Column(name, Kind.BOOLEAN, tuple(_BOOLEANS.get(cell.lower()) for cell in cells))
    elif any(SEPARATOR in cell for cell in known):
        lists = (tuple(entry.strip() for entry in cell.split(SEPARATOR)) for cell in cells)
        return Column(name, Kind.LIST, tuple(tuple(filter(None, entries)) or None for entries in lists))
    return Column(name, Kind.TEXT, tuple(cell or None for cell in cells))


def stray_cell(column: Column) -> int | None:
    """Row of the first cell that makes text of what else is nearly a column of numbers; None in any other.

    Nearly: more than nine in ten of the known cells are numbers, words for "unknown" not counted.
    """
    if column.kind is not Kind.TEXT:
        return None
    known = [(row, str(value)) for row, value in enumerate(column.values) if value is not None]
    if any(_looks_like_a_name(cell) for _, cell in known):
        return None
    strays = [(row, cell) for row, cell in known if math.isnan(parse_number(cell))]
    others = sum(cell.casefold() not in _UNKNOWN for _, cell in strays)
    return strays[0][0] if strays and 9 * others < len(known) - len(strays) else None


def _looks_like_a_name(number: str) -> bool:
    digits = number.lstrip("+-")
    return bool(_LEADING_ZERO.match(digits)) or (digits.isdecimal() and int(digits) > _EXACT)


def column_cells(column: Column) -> list[str]:
    """[N] cells that `parse_column` makes the same column of."""
    cells = [_cell(value) for value in column.values]
    if column.kind is Kind.LIST and not any(SEPARATOR in cell for cell in cells):
        return [cell + SEPARATOR for cell in cells]  # so that it looks like one
    return cells


def _cell(value: Value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return repr(value) if abs(value) > _EXACT else repr(value).removesuffix(".0")
        case tuple():
            return SEPARATOR.join(value)
    return value
