"""Which item follows which, in closed form: the part of the next-item answer that needs no gradient.

Ridge regression from the fading history before a like to that like, the transition
model of SLIST (Choi et al., 2021, eq. 12) with one decay, cut to the width that an
inner product can carry. Symbols: `P` prefixes, `N` items, `M` items it knows, `K` width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from deepmoviematch.data.features import LIKE_STARS, TRANSITION, UserBatch, recent_items
from deepmoviematch.data.tables import Floats, Ratings, Times
from deepmoviematch.trainer.models.low_rank import LowRankInverse, leading
from deepmoviematch.trainer.peers.ease import LARGEST

MOST_PREFIXES = 100_000
"""Prefixes that it is fitted on; more are sampled."""

FADED = 0.01
"""Weight in a history below which an old rating is left out: about the twentieth, of a decay of .8."""

POWERS = 2
"""Rounds of the subspace iteration: what lies at the edge of so many directions hardly matters."""

BLOCK = 8192
"""Prefixes that are laid out at once."""


@dataclass(frozen=True, eq=False)
class Markov:
    """Two tables whose product says what follows: fading history @ users @ items.T."""

    users: Floats
    """[N, K] what an item of the history adds to the user."""

    items: Floats
    """[N, K] orthonormal columns; 0 for items it does not know."""

    @classmethod
    def fit(cls, ratings: Ratings, items: int, *, penalty: float, width: int, seed: int) -> "Markov":
        """Solve for the transitions that `ratings`, in the order of time, show.

        With X the fading histories and Y the likes that follow, B = (X'X + penalty)^-1 X'Y;
        `items` are the first right singular vectors Q of XB, and `users` is BQ.

        Args:
            ratings: With times.
            items: N.
            penalty: L2 penalty, above 0.
            width: K, or fewer where fewer items are known.
            seed: Of the sample and the iteration.
        """
        rng = np.random.default_rng(seed)
        asked = later_likes(ratings)
        if len(asked) > MOST_PREFIXES:
            asked = np.sort(rng.choice(asked, MOST_PREFIXES, replace=False))
        counts = np.bincount(ratings.items, minlength=items)
        known = np.flatnonzero(counts)
        parts = np.array_split(asked, 1 + len(asked) // BLOCK)
        histories = sparse.vstack([_fading(ratings, part, items) for part in parts])[:, known]
        follows = sparse.csr_matrix(
            (np.ones(len(asked), np.float32), (np.arange(len(asked)), ratings.items[asked])),
            shape=(len(asked), items),
        )[:, known]
        inverse = _inverse(histories, penalty, rng)
        together = (histories.T @ follows).tocsr()  # [M, M]

        def squared(vectors: Floats) -> Floats:
            """(XB)'(XB) @ vectors: with G = X'X + penalty, G^-1 X'X G^-1 is G^-1 - penalty G^-2."""
            found = inverse(together @ vectors)
            return np.asarray(together.T @ (found - np.float32(penalty) * inverse(found)))

        width = min(width, len(known))
        tables = np.zeros((2, items, width), dtype=np.float32)
        tables[1, known] = leading(squared, len(known), width, rng, powers=POWERS)[0]
        tables[0, known] = inverse(together @ tables[1, known])
        return cls(users=tables[0], items=tables[1])

    def scaled(self, factor: float) -> "Markov":
        """The same transitions with scores that are `factor` times as large."""
        return Markov(users=np.float32(factor) * self.users, items=self.items)


def _inverse(
    histories: sparse.csr_matrix, penalty: float, rng: np.random.Generator
) -> Callable[[Floats], Floats]:
    """What multiplies with (X'X + penalty)^-1: exact for up to `LARGEST` items, with low rank beyond."""
    if histories.shape[1] > LARGEST:
        return LowRankInverse.fit(histories, penalty, rng)
    gram = (histories.T @ histories).toarray()
    gram[np.diag_indices(len(gram))] += penalty
    factor = linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    return lambda vectors: linalg.cho_solve(factor, vectors, check_finite=False)


def later_likes(ratings: Ratings) -> Times:
    """Places of the likes that are not their user's first rating: each can be asked for."""
    likes = np.flatnonzero(ratings.stars >= LIKE_STARS)
    later: Times = likes[likes > ratings.offsets[ratings.users[likes]]]
    return later


def prefixes(ratings: Ratings, asked: Times, genres: int = 0) -> UserBatch:
    """What each user had rated before the rating at each place of `asked`."""
    begins = ratings.offsets[ratings.users[asked]]
    sizes = asked - begins
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    places = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], sizes)
    return UserBatch(
        preferences=np.full((len(asked), genres), np.nan, dtype=np.float32),
        items=ratings.items[places],
        stars=ratings.stars[places],
        offsets=offsets,
        asks_next=np.ones(len(asked), dtype=np.bool_),
    )


def _fading(ratings: Ratings, asked: Times, items: int) -> sparse.csr_matrix:
    """[P, N] the histories before `asked`, each rating fading with those that came after."""
    rows, weights = recent_items(prefixes(ratings, asked))
    values = weights[:, :, TRANSITION]
    place, age = np.nonzero(values > FADED)
    shape = (len(asked), items)
    return sparse.csr_matrix((values[place, age], (place, rows[place, age])), shape=shape)
