"""The catalogue: what can be recommended.

It checks its own invariants once, at the door, so that nobody behind it has to. Ids are
strings outside and dense rows inside. Symbols: `N` items, `G` genres.

Only NumPy is imported: the serving process reads catalogues too.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from deepmoviematch.data.arrays import Flags, Ints
from deepmoviematch.data.columns import Column
from deepmoviematch.data.errors import DataError

UNKNOWN_YEAR = 0
"""Stands in `Catalogue.years` for a year that is not known."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items that can be recommended, one row each."""

    item_ids: tuple[str, ...]
    """[N] external ids, distinct and not empty."""

    titles: tuple[str, ...]
    """[N] titles without the year."""

    years: Ints
    """[N] years of release, `UNKNOWN_YEAR` where unknown."""

    genre_names: tuple[str, ...]
    """[G] the vocabulary, learnt from the data; may be empty."""

    genres: Flags
    """[N, G] which item has which genre."""

    columns: tuple[Column, ...] = ()
    """What else is known of the items."""

    def __post_init__(self) -> None:
        """Hold the table to its invariants."""
        n = len(self.item_ids)
        if n == 0:
            raise DataError("a catalogue must hold at least one item, got none")
        if len(self.titles) != n or self.years.shape != (n,):
            raise DataError(
                f"a catalogue needs one title and one year per item, got {n} items, "
                f"{len(self.titles)} titles and years of shape {self.years.shape}"
            )
        if self.genres.shape != (n, len(self.genre_names)):
            raise DataError(
                f"genre flags must have shape {(n, len(self.genre_names))}, got {self.genres.shape}"
            )
        if len(self.row_of) != n:
            raise DataError(f"item ids must be distinct, got {n - len(self.row_of)} repetitions")
        if "" in self.row_of:
            raise DataError(f"item ids must not be empty, got '' in row {self.row_of['']}")
        if len(set(self.genre_names)) != len(self.genre_names):
            raise DataError(f"genre names must be distinct, got {self.genre_names}")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise DataError(f"columns must have distinct names, got {', '.join(names)}")
        for column in self.columns:
            if len(column.values) != n:
                raise DataError(f"column {column.name} needs {n} values, got {len(column.values)}")

    def __len__(self) -> int:
        """Number of items."""
        return len(self.item_ids)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """External id -> row."""
        return {item_id: row for row, item_id in enumerate(self.item_ids)}

    def genres_of(self, row: int) -> tuple[str, ...]:
        """Names of the genres of the item in `row`, in the vocabulary's order."""
        return tuple(self.genre_names[genre] for genre in np.flatnonzero(self.genres[row]))

    def label(self, row: int) -> str:
        """Title and year for people: "Toy Story (1995)"; the id of what has no title."""
        name, year = self.titles[row] or self.item_ids[row], int(self.years[row])
        return f"{name} ({year})" if year != UNKNOWN_YEAR else name

    def to_json(self) -> dict[str, Any]:
        """The table as plain values, for `from_json`."""
        return {
            "item_ids": list(self.item_ids),
            "titles": list(self.titles),
            "years": self.years.tolist(),
            "genre_names": list(self.genre_names),
            "genres": [np.flatnonzero(flags).tolist() for flags in self.genres],
            "columns": [column.to_json() for column in self.columns],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Catalogue":
        """The table that `to_json` described.

        Raises:
            DataError: If a part is missing, of the wrong type or breaks an invariant.
        """
        try:
            names = tuple(map(str, values["genre_names"]))
            genres = np.zeros((len(values["item_ids"]), len(names)), dtype=np.bool_)
            for flags, columns in zip(genres, values["genres"], strict=True):
                if columns and not 0 <= min(columns) <= max(columns) < len(names):
                    raise DataError(f"genres must be in 0..{len(names) - 1}, got {columns!r:.100}")
                flags[columns] = True
            return cls(
                item_ids=tuple(map(str, values["item_ids"])),
                titles=tuple(map(str, values["titles"])),
                years=np.asarray(values["years"], dtype=np.int32),
                genre_names=names,
                genres=genres,
                columns=tuple(map(Column.from_json, values.get("columns", ()))),
            )
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise DataError(f"a stored catalogue must be whole, got {error!r}") from error
