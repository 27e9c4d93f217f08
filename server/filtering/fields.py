"""What filters may ask of the items of a generation.

Text is compared without regard to case, ids apart. What is unknown of an item satisfies
no comparison, not even !=. Symbols: `N` items, `V` different texts, `P` pairs
of an item and a text.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from itertools import chain, repeat
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from deepmoviematch.data.arrays import Flags, Longs
from deepmoviematch.data.catalogue import UNKNOWN_YEAR
from deepmoviematch.data.cells import parse_number
from deepmoviematch.data.columns import Column, Kind
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.server.errors import FilterError, shown
from deepmoviematch.server.filtering.syntax import Comparison, Value

ANYTHING = ("", "")
"""The pieces of a lone wildcard."""

FEW_TEXTS = 500
"""To look for one that is spelt nearly so among more would take long."""

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

    def __init__(self, size: int, texts: Iterable[str], rows: Longs, places: Longs) -> None:
        """Take the texts of N items.

        Args:
            size: N.
            texts: V texts; what is empty is unknown.
            rows: [P] whose they are.
            places: [P] which of the texts each one is.
        """
        self._texts = [*map(self._folded, texts)]
        given = np.array([*map(bool, self._texts)], dtype=np.bool_)[places]
        self._rows, self._places = rows[given], places[given]
        self.known: Flags = np.zeros(size, dtype=np.bool_)
        self.known[self._rows] = True

    def matches(self, asked: Comparison) -> Flags:
        """See `Field.matches`; "has" means that it stands somewhere in the text."""
        if asked.operator in _ORDERS:
            bound = repeat(self._folded(asked.value.text))
            return self._whose(map(_ORDERS[asked.operator], self._texts, bound))
        pieces = asked.value.pieces
        matches = self._like(("", *pieces, "") if asked.operator == ":" else pieces)
        return ~matches if asked.operator == "!=" else matches

    def _folded(self, text: str) -> str:
        return text.casefold()

    def _like(self, pieces: Iterable[str]) -> Flags:
        """[N] which items have a text that is the pieces one after the other, with anything in between."""
        folded = tuple(map(self._folded, pieces))
        match folded:
            case (whole,):
                return self._whose(map(whole.__eq__, self._texts))
            case ("", part, ""):
                return self._whose(map(operator.contains, self._texts, repeat(part)))
        return self._whose(map(_pattern(*folded), self._texts))

    def _whose(self, fits: Iterable[bool]) -> Flags:
        """[N] which items have one of the texts that fit."""
        fitting = np.frombuffer(bytes(fits), dtype=np.bool_)  # [V]
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
        return self._like(asked.value.pieces)

    def near(self, text: str) -> list[str]:
        """Texts that some item has and that are spelt nearly like `text`, in lower case; of few only."""
        had = np.unique(self._places)
        if len(had) > FEW_TEXTS:
            return []
        return get_close_matches(self._folded(text), [self._texts[place] for place in had])


def fields_of(generation: Generation) -> dict[str, Callable[[], Field]]:
    """Name -> how to make the field; a generation of an older version has fewer."""
    catalogue = generation.catalogue
    size, years = len(catalogue), catalogue.years.astype(np.float64)
    rows = np.arange(size)
    return {
        "item_id": lambda: Ids(size, catalogue.item_ids, rows, rows),
        "title": lambda: Texts(size, catalogue.titles, rows, rows),
        "year": lambda: Numbers(np.where(years == UNKNOWN_YEAR, np.nan, years)),
        "genres": lambda: Lists(size, catalogue.genre_names, *np.nonzero(catalogue.genres)),
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
            values = [(value,) if value else () for value in values]
    entries = [*chain.from_iterable(texts or () for texts in values)]
    rows = np.repeat(np.arange(len(values)), [len(texts or ()) for texts in values])
    place = {text: place for place, text in enumerate(dict.fromkeys(entries))}
    places = np.array([*map(place.__getitem__, entries)], dtype=np.int64)
    return (Texts if column.kind is Kind.TEXT else Lists)(len(values), place, rows, places)


def _pattern(first: str, *others: str) -> Callable[[str], bool]:
    """Tells whether a text is the pieces one after the other, with anything in between."""
    *middle, last = others

    def fits(text: str) -> bool:
        place, end = len(first), len(text) - len(last)
        if place > end or not (text.startswith(first) and text.endswith(last)):
            return False
        for piece in middle:  # the leftmost match leaves the most room for the rest
            found = text.find(piece, place, end)
            if found < 0:
                return False
            place = found + len(piece)
        return True

    return fits
