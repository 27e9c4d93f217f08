"""The two tables that everything takes: the catalogue and the ratings.

Both check their own invariants once, at the door, so that nobody behind it has
to. Ids are strings outside and dense rows inside. Symbols: `N` items, `G` genres,
`U` users, `R` ratings.

Only NumPy is imported: the serving process reads catalogues too.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from deepmoviematch.data.columns import Column
from deepmoviematch.data.errors import DataError

Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int32]
Times: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

UNKNOWN_YEAR = 0
"""Stands in `Catalogue.years` for a year that is not known."""

TOP_STARS = 5.0
"""The best of every rating scale, once expressed in stars."""

LOWEST_STARS = 0.5
"""The least that a preference can be, and what the lowest rating of a scale that goes below zero is."""


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
        """Title and year for people: "Toy Story (1995)"."""
        year = int(self.years[row])
        return f"{self.titles[row]} ({year})" if year != UNKNOWN_YEAR else self.titles[row]

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
            for row, flags in enumerate(values["genres"]):
                genres[row, flags] = True
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


@dataclass(frozen=True)
class RatingScale:
    """The range of a data set's ratings, and what they mean in stars."""

    low: float
    """The lowest rating in the data."""

    top: float
    """The highest rating in the data."""

    def __post_init__(self) -> None:
        """Refuse a range that no rating could be in."""
        if not (np.isfinite(self.low) and np.isfinite(self.top) and self.low <= self.top):
            raise DataError(f"a rating scale needs finite low <= top, got {self.low}..{self.top}")

    @property
    def floor(self) -> float:
        """The lowest rating to accept: MovieLens allows half a star, given or not."""
        stretched = self.low >= 0 and self.low < self.top
        return min(self.low, self.top / 10) if stretched else self.low

    def stars(self, ratings: Floats) -> Floats:
        """Express ratings in stars, of which `TOP_STARS` is the best.

        A scale that starts at or above zero is stretched (1..10 is halved, MovieLens
        stays as it is); one that goes below zero is shifted onto `LOWEST_STARS`..`TOP_STARS`.

        Args:
            ratings: [...] float32, in the data's units.

        Returns:
            [...] float32.
        """
        if self.low == self.top:  # such as "watched": there is nothing but praise
            return np.full_like(ratings, TOP_STARS)
        if self.low >= 0:
            return (ratings * np.float32(TOP_STARS / self.top)).astype(np.float32)
        share = (ratings - self.low) / (self.top - self.low)
        return (LOWEST_STARS + share * (TOP_STARS - LOWEST_STARS)).astype(np.float32)

    @property
    def units(self) -> tuple[float, float]:
        """What no stars are in the data's units, and what each star adds: the way back from `stars`.

        Where all ratings are equal, stars add nothing to the one there is.
        """
        if self.low == self.top:
            return self.top, 0.0
        if self.low >= 0:
            return 0.0, self.top / TOP_STARS
        star = (self.top - self.low) / (TOP_STARS - LOWEST_STARS)
        return self.low - LOWEST_STARS * star, star


def pair_codes(users: Ints | Times, items: Ints | Times, width: int) -> Times:
    """[R] a number for each pair of user and item, the same for equal pairs only.

    Codes of several tables can be compared where all have the same `width`.

    Args:
        users: [R] rows of users.
        items: [R] rows of the catalogue.
        width: Above every one of `items`, such as the size of the catalogue.
    """
    codes = users.astype(np.int64)
    codes *= width
    codes += items
    return codes


@dataclass(frozen=True, eq=False)
class Ratings:
    """Who rated what: sorted by user, then by time (file order where times tie)."""

    user_ids: tuple[str, ...]
    """[U] external ids, distinct; every user has at least one rating."""

    users: Ints
    """[R] rows of `user_ids`, never decreasing."""

    items: Ints
    """[R] rows of the catalogue."""

    ratings: Floats
    """[R] finite, in the data's own units."""

    timestamps: Times | None
    """[R] seconds since 1970, or None where the data have no times."""

    devices: Ints | None = None
    """[R] rows of `device_names`, -1 where unknown; None where the data name no devices."""

    device_names: tuple[str, ...] = ()
    """What people rated on, in lower case, distinct."""

    whole: RatingScale | None = None
    """The scale of the table that this one is a part of; None where it is whole itself."""

    def __post_init__(self) -> None:
        """Hold the table to its invariants."""
        lengths = {len(column) for column in (self.users, self.items, self.ratings)}
        lengths |= {len(column) for column in (self.timestamps, self.devices) if column is not None}
        if len(lengths) != 1:
            raise DataError(f"rating columns must have one length, got {sorted(lengths)}")
        if len(self.users) == 0:
            raise DataError("a ratings table must hold at least one rating, got none")
        if not np.isfinite(self.ratings).all():
            raise DataError("ratings must be finite, got NaN or infinity")
        if (np.diff(self.users) < 0).any():
            raise DataError("ratings must be sorted by user; build the table with `from_columns`")
        if self.users[0] != 0 or self.users[-1] != len(self.user_ids) - 1 or (np.diff(self.users) > 1).any():
            raise DataError("every user must have at least one rating")
        if len(set(self.user_ids)) != len(self.user_ids):
            raise DataError("user ids must be distinct, got a repetition")
        if self.devices is not None and not -1 <= self.devices.min() <= self.devices.max() < len(
            self.device_names
        ):
            raise DataError(f"devices must be rows of {len(self.device_names)} names, or -1")
        if self.items.min() < 0:
            raise DataError(f"items must be rows of the catalogue, got {self.items.min()}")
        pairs = pair_codes(self.users, self.items, int(self.items.max()) + 1)
        pairs.sort()
        if (pairs[1:] == pairs[:-1]).any():
            raise DataError("a user may rate an item once, got a duplicate")

    @classmethod
    def from_columns(
        cls,
        user_ids: tuple[str, ...],
        users: Ints,
        items: Ints,
        ratings: Floats,
        timestamps: Times | None,
        *,
        devices: Ints | None = None,
        device_names: tuple[str, ...] = (),
    ) -> "Ratings":
        """The table of rows in any order; they are sorted here."""
        order = np.argsort(users, kind="stable") if timestamps is None else np.lexsort((timestamps, users))
        return cls(
            user_ids=user_ids,
            users=users[order],
            items=items[order],
            ratings=ratings[order],
            timestamps=None if timestamps is None else timestamps[order],
            devices=None if devices is None else devices[order],
            device_names=device_names,
        )

    def take(self, rows: Flags) -> "Ratings":
        """The part of the table in the rows that `rows` [R] flags.

        Users without a row there drop out; the scale stays that of the whole, so
        that a rating means the same number of stars in every part.

        Raises:
            DataError: If no row is flagged.
        """
        users = self.users[rows]
        present = np.bincount(users, minlength=len(self.user_ids)) > 0
        dense = np.cumsum(present, dtype=np.int32) - 1
        return Ratings(
            user_ids=tuple(compress(self.user_ids, present)),
            users=dense[users],
            items=self.items[rows],
            ratings=self.ratings[rows],
            timestamps=None if self.timestamps is None else self.timestamps[rows],
            devices=None if self.devices is None else self.devices[rows],
            device_names=self.device_names,
            whole=self.scale,
        )

    def __len__(self) -> int:
        """Number of ratings."""
        return len(self.users)

    @cached_property
    def offsets(self) -> Times:
        """[U + 1] where each user's ratings begin; the last entry is R."""
        return np.searchsorted(self.users, np.arange(len(self.user_ids) + 1))

    @cached_property
    def tells_order(self) -> bool:
        """Whether the times say, of any user, what was rated before what."""
        if self.timestamps is None:
            return False
        later = np.diff(self.timestamps) > 0
        return bool((later & (np.diff(self.users) == 0)).any())

    @cached_property
    def scale(self) -> RatingScale:
        """The range of the ratings, of the whole table if this is a part of one."""
        return self.whole or RatingScale(low=float(self.ratings.min()), top=float(self.ratings.max()))

    @cached_property
    def stars(self) -> Floats:
        """[R] the ratings in stars."""
        return self.scale.stars(self.ratings)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A catalogue, its ratings, and what happened on the way in."""

    name: str
    """What people call it: a source's name or the folder's."""

    catalogue: Catalogue
    ratings: Ratings

    dropped: tuple[str, ...] = ()
    """A sentence for each thing that was left out: rows that leniency dropped, columns of no use."""

    def __post_init__(self) -> None:
        """Refuse ratings of items that the catalogue does not have."""
        if int(self.ratings.items.max()) >= len(self.catalogue):
            raise DataError(
                f"rated items must be in the catalogue of {len(self.catalogue)}, "
                f"got row {self.ratings.items.max()}"
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 over both tables: equal data, equal digest, whatever the file form."""
        ratings, catalogue = self.ratings, self.catalogue
        digest = hashlib.sha256()
        for names in (catalogue.item_ids, catalogue.titles, catalogue.genre_names, ratings.user_ids):
            digest.update(repr(names).encode())
        times = np.empty(0, dtype=np.int64) if ratings.timestamps is None else ratings.timestamps
        for column in (
            catalogue.years,
            catalogue.genres,
            ratings.users,
            ratings.items,
            ratings.ratings,
            times,
        ):
            digest.update(np.ascontiguousarray(column).data)
        for further in catalogue.columns:
            digest.update(repr((further.name, further.kind.value, further.values)).encode())
        if ratings.devices is not None:
            used = {ratings.device_names[row]: row for row in np.unique(ratings.devices) if row >= 0}
            places = np.full(len(ratings.device_names) + 1, -1, dtype=np.int32)
            places[[used[name] for name in sorted(used)]] = np.arange(len(used))
            digest.update(repr(sorted(used)).encode())
            digest.update(places[ratings.devices].data)
        return digest.hexdigest()
