"""Which item follows which, in closed form: the part of the next-item answer that needs no gradient.

Ridge regression from the fading history before a rating to the item rated, the transition
model of SLIST (Choi et al., 2021, eq. 12) with one decay, cut to the width that an
inner product can carry. Beyond that paper, what is not liked is followed too, histories are
also read backwards, and rare items count more: each for a share that was tuned on three data
sets. Symbols: `P` questions, `N` items, `M` items it knows, `K` width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from deepmoviematch.data.arrays import Floats, Longs
from deepmoviematch.data.features import LIKE_STARS, RECENCY, TRANSITION, WINDOW
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.ease import LARGEST, root_of
from deepmoviematch.trainer.models.low_rank import LowRankInverse, leading
from deepmoviematch.trainer.models.prefixes import later_ratings

MOST_ASKED = 300_000
"""Ratings that it is fitted on, each with what came before and after; of more a sample."""

OTHERS = 0.5
"""What a rating that is no like counts beside a like: what is met next is much the same for both."""

BACKWARDS = 0.25
"""What the ratings after an item count beside those before it: people rate page by page."""

RARITY = 0.3
"""Power of an item's likes by which it counts less: the taste knows what is popular."""

FADED = 0.01
"""Weight in a history below which an old rating is left out: about the twentieth, of a decay of .8."""

POWERS = 2
"""Rounds of the subspace iteration: what lies at the edge of so many directions hardly matters."""

BLOCK = 8192
"""Questions that are laid out at once."""


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

        With X the fading histories and Y the items rated beside them, both with the root of
        what the question counts in front, B = (X'X + penalty)^-1 X'Y; `items` are the first
        right singular vectors Q of XB, and `users` is BQ.

        Args:
            ratings: With times.
            items: N.
            penalty: L2 penalty, above 0.
            width: K, or fewer where fewer items are known.
            seed: Of the sample and the iteration.
        """
        rng = np.random.default_rng(seed)
        counts, liked = np.bincount(ratings.items, minlength=items), ratings.stars >= LIKE_STARS
        known = np.flatnonzero(counts)
        rarity = (1.0 + np.bincount(ratings.items[liked], minlength=items)) ** -RARITY
        asked = later_ratings(ratings)
        if len(asked) > MOST_ASKED:
            asked = np.sort(rng.choice(asked, MOST_ASKED, replace=False))
        parts = np.array_split(asked, 1 + len(asked) // BLOCK)
        worth = np.where(liked[asked], 1.0, OTHERS)
        roots = np.sqrt(np.concatenate([worth, BACKWARDS * worth])).astype(np.float32)
        histories = sparse.vstack(
            [_fading(ratings, part, items, direction) for direction in (-1, 1) for part in parts]
        )[:, known]
        histories.data *= np.repeat(roots, np.diff(histories.indptr))
        following = np.tile(ratings.items[asked], 2)
        follows = sparse.csr_matrix(
            ((roots * rarity[following]).astype(np.float32), (np.arange(len(roots)), following)),
            shape=(len(roots), items),
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
    root = root_of(gram, penalty, "transition_penalty")
    return lambda vectors: linalg.cho_solve((root, True), vectors, check_finite=False)


def _fading(ratings: Ratings, asked: Longs, items: int, direction: int) -> sparse.csr_matrix:
    """[P, N] what their users rated before the places `asked` (-1) or after (1), fading with the distance."""
    ends = ratings.offsets[ratings.users[asked] + (direction > 0)] - (direction > 0)
    weights = RECENCY[:, :, TRANSITION][np.minimum(np.abs(ends - asked), WINDOW)]  # [P, WINDOW]
    row, age = np.nonzero(weights > FADED)
    found = ratings.items[asked[row] + direction * (1 + age)]
    return sparse.csr_matrix((weights[row, age], (row, found)), shape=(len(asked), items))
