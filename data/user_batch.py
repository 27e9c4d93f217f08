"""Users as a tower is asked for them, in one batch.

Everything is in stars, as in `features`. Symbols: `B` users, `G` genres, `H` interactions of
all users together.

Only NumPy is imported: the serving process embeds users too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats, Ints, Longs
from deepmoviematch.data.ratings import Ratings


@dataclass(frozen=True, eq=False)
class UserBatch:
    """What is known of some users: stated preferences and histories."""

    preferences: Floats
    """[B, G] stars, NaN where unknown."""

    items: Ints
    """[H] rows of the catalogue, user after user."""

    stars: Floats
    """[H] the ratings of `items` in stars; a like without a rating counts as `TOP_STARS`."""

    offsets: Longs
    """[B + 1] where each user's interactions begin, the oldest first; the last entry is H."""

    asks_next: Flags
    """[B] whether the user asks what to take next, so that the order of the history counts."""

    moments: Ints | None = None
    """[B, 3] when and on what each user asks (`context.FEATURES`), as rows of the user tower's
    tables, -1 where not told; None where nobody tells anything."""

    def __len__(self) -> int:
        """Number of users."""
        return len(self.preferences)

    @property
    def history_sizes(self) -> Longs:
        """[B] number of interactions of each user."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Longs:
        """[H] the user, 0 to B - 1, of each interaction."""
        return np.repeat(np.arange(len(self)), self.history_sizes)

    @property
    def states_preferences(self) -> Flags:
        """[B] whether the user stated any preference."""
        stated: Flags = np.any(np.isfinite(self.preferences), axis=1)
        return stated

    @property
    def has_features(self) -> Flags:
        """[B] whether anything is known of the user."""
        return self.states_preferences | (self.history_sizes > 0)

    def slice(self, first: int, last: int) -> "UserBatch":
        """Users `first` to `last` - 1."""
        offsets = self.offsets[first : last + 1]
        interactions = slice(offsets[0], offsets[-1])
        return UserBatch(
            preferences=self.preferences[first:last],
            items=self.items[interactions],
            stars=self.stars[interactions],
            offsets=offsets - offsets[0],
            asks_next=self.asks_next[first:last],
            moments=None if self.moments is None else self.moments[first:last],
        )

    @classmethod
    def of(
        cls,
        genres: int,
        preferences: Sequence[Mapping[int, float]],
        histories: Sequence[Mapping[int, float]],
        asks_next: Sequence[bool] = (),
    ) -> "UserBatch":
        """The batch of users given as mappings.

        Args:
            genres: G, the size of the vocabulary.
            preferences: For each user, genre column -> stars.
            histories: For each user, catalogue row -> stars, the oldest first.
            asks_next: For each user whether order counts; empty where nobody asks.
        """
        stars = np.full((len(preferences), genres), np.nan, dtype=np.float32)
        for row, known in enumerate(preferences):
            for genre, value in known.items():
                stars[row, genre] = value
        return cls(
            preferences=stars,
            items=np.array([item for history in histories for item in history], dtype=np.int32),
            stars=np.array([value for history in histories for value in history.values()], dtype=np.float32),
            offsets=np.cumsum([0, *map(len, histories)]),
            asks_next=np.array(asks_next or [False] * len(preferences), dtype=np.bool_),
        )

    @classmethod
    def of_histories(cls, ratings: Ratings, genres: int, *, asks_next: bool = False) -> "UserBatch":
        """Every user of `ratings`, described by the history alone."""
        return cls(
            preferences=np.full((len(ratings.user_ids), genres), np.nan, dtype=np.float32),
            items=ratings.items,
            stars=ratings.stars,
            offsets=ratings.offsets,
            asks_next=np.full(len(ratings.user_ids), asks_next),
        )
