"""What filters may ask of the items of a generation.

Text is compared without regard to case, ids apart. What is unknown of an item satisfies
no comparison, not even !=. Symbols: `N` items, `V` different texts.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from deepmoviematch.data.cells import parse_number
from deepmoviematch.data.columns import Column, Kind
from deepmoviematch.data.tables import UNKNOWN_YEAR, Flags
from deepmoviematch.indexer.generation import Generation

from .errors import FilterError, shown
from .syntax import Comparison, Value

ANYTHING = ("", "")
"""The pieces of a lone wildcard."""

_ORDERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPARED: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    ":": operator.eq,
    "!=": operator.ne,
    **_ORDERS,
}


class Field(Protocol):
    """What is known of each item in one respect."""

    @property
    def known(self) -> Flags:
        """[N] of which items it is known."""

    def matches(self, asked: Comparison) -> Flags:
        """[N] which of the items of which it is known satisfy a comparison; anything for the others.

        Raises:
            FilterError: If this field cannot answer it.
        """


class Numbers:
    """A number for each item."""

    def __init__(self, values: npt.NDArray[np.floating[Any]]) -> None:
        """Take [N] numbers, NaN where unknown; others are compared with them in their precision."""
        self.known: Flags = ~np.isnan(values)
        self._values = values

    def matches(self, asked: Comparison) -> Flags:
        """See `Field.matches`; "has" means =."""
        with np.errstate(over="ignore"):
            number = self._values.dtype.type(self._read(asked.value))
        matches: Flags = _COMPARED[asked.operator](self._values, number)
        return matches

    def _read(self, value: Value) -> float:
        number = parse_number(value.text)
        if not np.isfinite(number):
            cure = "where it is unknown, NOT field:* is true"
            raise FilterError("must compare with a number", shown(value.text), at=value.at, cure=cure)
        return number


class Booleans(Numbers):
    """1 or 0 for each item, for true or false."""

    def matches(self, asked: Comparison) -> Flags:
        """See `Field.matches`; there is no order."""
        if asked.operator in _ORDERS:
            raise FilterError("must ask what is true or false with =", shown(asked.operator), at=asked.at)
        return super().matches(asked)

    def _read(self, value: Value) -> float:
        text = value.text.lower()
        if text not in {"true", "false"}:
            raise FilterError("must compare with true or false", shown(value.text), at=value.at)
        return float(text == "true")


class Texts:
    """A text for each item."""

    def __init__(self, size: int, entries: Iterable[tuple[int, str]]) -> None:
        """Take N, and rows with their texts; what is empty is unknown."""
        places: dict[str, int] = {}
        found = [(row, places.setdefault(self._folded(text), len(places))) for row, text in entries if text]
        self._rows, self._places = np.array(found, dtype=np.int64).reshape(-1, 2).T
        self._texts = list(places)  # [V]
        self.known: Flags = np.zeros(size, dtype=np.bool_)
        self.known[self._rows] = True

    def matches(self, asked: Comparison) -> Flags:
        """See `Field.matches`; "has" means that it stands somewhere in the text."""
        if asked.operator in _ORDERS:
            order, bound = _ORDERS[asked.operator], self._folded(asked.value.text)
            return self._whose(lambda text: order(text, bound))
        pieces = tuple(map(self._folded, asked.value.pieces))
        if asked.operator == ":":
            pieces = ("", *pieces, "")
        matches = self._whose(_fitting(pieces))
        return ~matches if asked.operator == "!=" else matches

    def _folded(self, text: str) -> str:
        return text.casefold()

    def _whose(self, fits: Callable[[str], bool]) -> Flags:
        """[N] which items have a text that fits."""
        fitting = np.fromiter(map(fits, self._texts), dtype=np.bool_, count=len(self._texts))  # [V]
        whose = np.zeros(len(self.known), dtype=np.bool_)
        whose[self._rows[fitting[self._places]]] = True
        return whose


class Ids(Texts):
    """Ids: their case matters, their order means nothing."""

    def matches(self, asked: Comparison) -> Flags:
        """See `Field.matches`."""
        if asked.operator in _ORDERS:
            raise FilterError("must ask ids with =, != or :", shown(asked.operator), at=asked.at)
        return super().matches(asked)

    def _folded(self, text: str) -> str:
        return text


class Lists(Texts):
    """Some texts for each item."""

    def matches(self, asked: Comparison) -> Flags:
        """See `Field.matches`; "has" means that one of the texts is equal."""
        if asked.operator != ":":
            raise FilterError("must ask what a list has with :", shown(asked.operator), at=asked.at)
        return self._whose(_fitting(tuple(map(self._folded, asked.value.pieces))))


def fields_of(generation: Generation) -> dict[str, Callable[[], Field]]:
    """Name -> how to make the field; a generation of an older version has fewer."""
    catalogue = generation.catalogue
    size, years = len(catalogue), catalogue.years.astype(np.float64)

    def genres() -> Field:
        rows, names = np.nonzero(catalogue.genres)
        return Lists(size, zip(rows.tolist(), (catalogue.genre_names[name] for name in names), strict=True))

    return {
        "item_id": lambda: Ids(size, enumerate(catalogue.item_ids)),
        "title": lambda: Texts(size, enumerate(catalogue.titles)),
        "year": lambda: Numbers(np.where(years == UNKNOWN_YEAR, np.nan, years)),
        "genres": genres,
        "popularity": lambda: Numbers(generation.popularity),
        **{column.name: partial(_field_of, column) for column in catalogue.columns},
    }


def _field_of(column: Column) -> Field:
    values: Any = column.values
    match column.kind:
        case Kind.NUMBER | Kind.BOOLEAN:
            # An average is as precise as the ratings: what was always rated 0.7 averages 0.7.
            precise = column.name != "average_rating"
            numbers: Any = np.array(values, dtype=np.float64 if precise else np.float32)  # None is NaN there
            return (Numbers if column.kind is Kind.NUMBER else Booleans)(numbers)
        case Kind.TEXT:
            return Texts(len(values), ((row, text or "") for row, text in enumerate(values)))
    return Lists(len(values), ((row, text) for row, texts in enumerate(values) for text in texts or ()))


def _fitting(pieces: tuple[str, ...]) -> Callable[[str], bool]:
    """Tells whether a text is the pieces one after the other, with anything in between."""
    match pieces:
        case (whole,):
            return whole.__eq__
        case ("", part, ""):
            return lambda text: part in text
    return partial(_fits, pieces)


def _fits(pieces: tuple[str, ...], text: str) -> bool:
    first, *middle, last = pieces
    place, end = len(first), len(text) - len(last)
    if place > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for piece in middle:  # the leftmost match leaves the most room for the rest
        found = text.find(piece, place, end)
        if found < 0:
            return False
        place = found + len(piece)
    return True
