"""The ratings: who rated what, and what that is in stars.

They check their own invariants once, at the door, so that nobody behind it has to. Ids are
strings outside and dense rows inside. Symbols: `U` users, `R` ratings.

Only NumPy is imported: the serving process speaks of stars too.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Self

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats, Ints, Longs
from deepmoviematch.data.errors import DataError

TOP_STARS = 5.0
"""The best of every rating scale, once expressed in stars."""

LOWEST_STARS = 0.5
"""The least that a preference can be, and what the lowest rating of a scale that goes below zero is."""

_MIRRORED = 0.01
"""Ends that differ by less, as a share of the larger, are those of a scale with zero in its middle."""


@dataclass(frozen=True)
class RatingScale:
    """The range of a data set's ratings, and what they mean in stars."""

    low: float
    """The lowest rating in the data, or that they are close to (see `of`)."""

    top: float
    """The highest rating in the data, or that they are close to."""

    def __post_init__(self) -> None:
        """Refuse a range that no rating could be in."""
        if not (np.isfinite(self.low) and np.isfinite(self.top) and self.low <= self.top):
            raise DataError(f"a rating scale needs finite low <= top, got {self.low}..{self.top}")

    @classmethod
    def of(cls, ratings: Floats) -> Self:
        """The range of `ratings` [R].

        Where they go as far below zero as above, but for 1 %, both ends are as far: on a scale of -10 to 10
        whose lowest rating happens to be -9.99, somebody may still give -10.
        """
        low, top = float(ratings.min()), float(ratings.max())
        far = max(-low, top)
        return cls(-far, far) if abs(low + top) < _MIRRORED * far else cls(low, top)

    @property
    def floor(self) -> float:
        """The lowest rating to accept: MovieLens allows half a star, given or not.

        So do data in which everything was liked: whoever did not can still say so.
        """
        return min(self.low, self.top / 10) if self._is_stretched else self.low

    def stars(self, ratings: Floats) -> Floats:
        """Express ratings in stars, of which `TOP_STARS` is the best.

        A scale that starts at or above zero is stretched (1..10 is halved, MovieLens
        stays as it is); one that goes below zero is shifted onto `LOWEST_STARS`..`TOP_STARS`.
        Where all ratings are equal, and none is above zero, each is the best.

        Args:
            ratings: [...] float32, in the data's units.

        Returns:
            [...] float32.
        """
        if self._is_stretched:
            stars = np.empty_like(ratings, dtype=np.float32)
            # Rounded once, here and below, so that four fifths of the top are a like whatever the top is.
            np.multiply(ratings, TOP_STARS / self.top, out=stars, dtype=np.float64, casting="same_kind")
            return stars
        if self.low == self.top:
            return np.full_like(ratings, TOP_STARS)
        share = (ratings.astype(np.float64) - self.low) / (self.top - self.low)
        return (LOWEST_STARS + share * (TOP_STARS - LOWEST_STARS)).astype(np.float32)

    @property
    def units(self) -> tuple[float, float]:
        """What no stars are in the data's units, and what each star adds: the way back from `stars`.

        Where all ratings are equal, and none is above zero, stars add nothing to the one there is.
        """
        if self._is_stretched:
            return 0.0, self.top / TOP_STARS
        if self.low == self.top:
            return self.top, 0.0
        star = (self.top - self.low) / (TOP_STARS - LOWEST_STARS)
        return self.low - LOWEST_STARS * star, star

    @property
    def _is_stretched(self) -> bool:
        """Whether zero is no stars."""
        return self.low >= 0 and self.top > 0


def pair_codes(users: Ints | Longs, items: Ints | Longs, width: int) -> Longs:
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

    timestamps: Longs | None
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
        timestamps: Longs | None,
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
    def offsets(self) -> Longs:
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
        return self.whole or RatingScale.of(self.ratings)

    @cached_property
    def stars(self) -> Floats:
        """[R] the ratings in stars."""
        return self.scale.stars(self.ratings)
