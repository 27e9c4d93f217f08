"""What an item's content says of its vector: where items stand that nobody rated.

Closed form, from the vectors of the items that were rated. Symbols: `N` items, `F`
content features, `D` width.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from deepmoviematch.data.tables import Flags, Floats, Times

PENALTY = 20.0
"""L2 penalty, in items of mean weight."""


@dataclass(frozen=True, eq=False)
class ContentRegression:
    """Vectors as a linear function of content."""

    kernel: Floats
    """[F, D]"""

    bias: Floats
    """[D]"""

    @classmethod
    def fit(cls, features: Floats, vectors: Floats, counts: Times) -> "ContentRegression":
        """Ridge regression over the rated items, each weighted by the root of its ratings.

        Args:
            features: [N, F] content.
            vectors: [N, D] what was learnt; rows of items without ratings do not count.
            counts: [N] ratings of each item, one of them at least above 0.
        """
        rated: Flags = counts > 0
        weights = np.sqrt(counts[rated])
        weights /= weights.mean()
        known, learnt = features[rated].astype(np.float64), vectors[rated].astype(np.float64)
        feature_mean = np.average(known, axis=0, weights=weights)
        vector_mean = np.average(learnt, axis=0, weights=weights)
        known -= feature_mean
        weighted = (weights[:, None] * known).T  # [F, M]
        gram = weighted @ known
        gram[np.diag_indices(len(gram))] += PENALTY
        kernel = linalg.solve(gram, weighted @ (learnt - vector_mean), assume_a="pos")
        bias = vector_mean - feature_mean @ kernel
        return cls(kernel.astype(np.float32), bias.astype(np.float32))

    def __call__(self, features: Floats) -> Floats:
        """[N, D] vectors for the content [N, F]."""
        return features @ self.kernel + self.bias
