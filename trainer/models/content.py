"""What an item's content says of its vector: where items stand that nobody rated.

Closed form, from the vectors of the items that were rated. Symbols: `N` items, `M` of
them rated, `F` content features, `G` genres, `P` pairs of genres, `D` width.
"""

import numpy as np
from scipy import linalg, sparse

from deepmoviematch.data.tables import Flags, Floats, Times

PENALTY = 20.0
"""L2 penalty, in items of mean weight."""

EXPONENT = 0.25
"""Power of its number of ratings that an item weighs with."""

PAIR = 0.5
"""What an item has that is of both genres of a pair, where a genre alone is 1: pairs are penalised more."""

MOST_PAIRS = 500
"""Pairs of genres that are told apart, the most common ones."""


class ContentRegression:
    """Vectors as a linear function of content, by ridge regression over the rated items.

    Items and weights are fixed; only the vectors change from fit to fit.
    """

    def __init__(self, features: Floats, counts: Times) -> None:
        """Factor what does not depend on the vectors.

        Args:
            features: [N, F] content.
            counts: [N] ratings of each item, one of them at least above 0.
        """
        self._features = features
        self._rated: Flags = counts > 0
        weights = counts[self._rated] ** EXPONENT
        self._weights = weights / weights.mean()
        known = features[self._rated].astype(np.float64)
        self._mean = np.average(known, axis=0, weights=self._weights)
        known -= self._mean
        self._weighted = (self._weights[:, None] * known).T  # [F, M]
        gram = self._weighted @ known
        gram[np.diag_indices(len(gram))] += PENALTY
        self._factor = linalg.cho_factor(gram, overwrite_a=True)

    def fit(self, vectors: Floats) -> tuple[Floats, Floats]:
        """The kernel [F, D] and bias [D] that fit what was learnt; rows without ratings do not count.

        Args:
            vectors: [N, D]
        """
        learnt = vectors[self._rated].astype(np.float64)
        mean = np.average(learnt, axis=0, weights=self._weights)
        kernel = linalg.cho_solve(self._factor, self._weighted @ (learnt - mean))
        return kernel.astype(np.float32), (mean - self._mean @ kernel).astype(np.float32)

    def place(self, vectors: Floats) -> Floats:
        """[N, D] vectors, those of items without ratings replaced by what their content says."""
        if self._rated.all():
            return vectors
        kernel, bias = self.fit(vectors)
        return np.where(self._rated[:, None], vectors, self._features @ kernel + bias)


def genre_pairs(genres: Flags) -> Floats:
    """[N, P] `PAIR` where an item is of both genres of a pair that items share.

    An animated film for children is not what animation and children's films are on average.

    Args:
        genres: [N, G] genre flags.
    """
    flags = sparse.csr_matrix(genres, dtype=np.float32)
    shared = sparse.triu(flags.T @ flags, k=1, format="coo")  # [G, G] items of both
    common = np.sort(np.argsort(-shared.data, kind="stable")[:MOST_PAIRS])
    return np.float32(PAIR) * (genres[:, shared.row[common]] & genres[:, shared.col[common]])
