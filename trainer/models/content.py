"""What an item's content says of its vector: where items stand that nobody rated.

Closed form, from the vectors of the items that were rated. Symbols: `N` items, `M` of
them rated, `F` content features, `L` landmarks, `D` width.
"""

from collections.abc import Iterator

import numpy as np
from scipy import linalg

from deepmoviematch.data.arrays import Doubles, Flags, Floats, Longs

PENALTY = 20.0
"""L2 penalty, in items of mean weight."""

EXPONENT = 0.25
"""Power of its number of ratings that an item weighs with."""

LANDMARKS = 512
"""Items that every item is compared with."""

REACH = 0.1
"""How fast likeness fades with the squared distance between contents."""

BLOCK = 4_096
"""Items that are laid out at once in double precision."""

LIKENESS = 2.5
"""What likeness counts beside content: the more, the less it is penalised."""


class ContentRegression:
    """Vectors as a linear function of content, by ridge regression over the rated items.

    Items and weights are fixed; only the vectors change from fit to fit.
    """

    def __init__(self, features: Floats, counts: Longs) -> None:
        """Factor what does not depend on the vectors.

        Args:
            features: [N, F] content.
            counts: [N] ratings of each item, one of them at least above 0.
        """
        self._features = features
        self._rated: Flags = counts > 0
        weights = counts[self._rated] ** EXPONENT
        self._weights = weights / weights.mean()
        width = features.shape[1]
        self._mean = np.zeros(width)  # until it is known
        total, gram = np.zeros(width), np.zeros((width, width))
        for weights, known, _ in self._blocks():
            total += (weights[:, None] * known).sum(axis=0)
        self._mean = total / self._weights.sum()
        for weights, known, _ in self._blocks():
            gram += (weights[:, None] * known).T @ known
        gram[np.diag_indices(len(gram))] += PENALTY
        self._factor = linalg.cho_factor(gram, overwrite_a=True)

    def _blocks(self) -> Iterator[tuple[Doubles, Doubles, slice]]:
        """Weights [.] and centred content [., F] of a few of the M rated items, and which they are."""
        rows = np.flatnonzero(self._rated)
        for first in range(0, len(rows), BLOCK):
            some = slice(first, first + BLOCK)
            yield self._weights[some], self._features[rows[some]].astype(np.float64) - self._mean, some

    def fit(self, vectors: Floats) -> tuple[Floats, Floats]:
        """The kernel [F, D] and bias [D] that fit what was learnt; rows without ratings do not count.

        Args:
            vectors: [N, D]
        """
        learnt = vectors[self._rated].astype(np.float64)
        mean = np.average(learnt, axis=0, weights=self._weights)
        learnt -= mean
        sums = sum((weights[:, None] * known).T @ learnt[some] for weights, known, some in self._blocks())
        kernel = linalg.cho_solve(self._factor, sums)
        return kernel.astype(np.float32), (mean - self._mean @ kernel).astype(np.float32)

    def place(self, vectors: Floats) -> Floats:
        """[N, D] vectors, those of items without ratings replaced by what their content says."""
        if self._rated.all():
            return vectors
        kernel, bias = self.fit(vectors)
        return np.where(self._rated[:, None], vectors, self._features @ kernel + bias)


def likeness(content: Floats) -> Floats:
    """[N, L] features whose inner products say how like two items are, so that a fit may bend.

    An animated film for children is not what animation and children's films are on average.
    The products are those of a Gaussian kernel, seen from landmarks among the items
    (Nystroem features; Williams and Seeger, 2001), times the square of `LIKENESS`. Which items these are
    goes by the catalogue alone, whatever the recipe's seed: they change what is approximated, not what is.

    Args:
        content: [N, F] content features.
    """
    drawn = np.random.default_rng(0).choice(len(content), min(LANDMARKS, len(content)), replace=False)
    landmarks = np.unique(content[drawn], axis=0)
    root = np.linalg.cholesky(_kernel(landmarks, landmarks) + 1e-4 * np.eye(len(landmarks)))
    features = np.empty((len(content), len(landmarks)), dtype=np.float32)
    for first in range(0, len(content), BLOCK):
        some = slice(first, first + BLOCK)
        found = linalg.solve_triangular(root, _kernel(landmarks, content[some]), lower=True)
        features[some] = LIKENESS * found.T
    return features


def _kernel(left: Floats, right: Floats) -> Floats:
    """[L, N] from 0 to 1, where both are the same."""
    squares = np.sum(left**2, axis=1)[:, None] + np.sum(right**2, axis=1) - 2 * left @ right.T
    kernel: Floats = np.exp(-REACH * np.maximum(squares, 0)).astype(np.float64)
    return kernel
