"""EASE, the closed-form linear recommender: a peer of the towers, and what their teachers are made of."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from deepmoviematch.data.arrays import Floats, Ints
from deepmoviematch.trainer.errors import TrainingError

LARGEST = 10_000
"""Items that EASE is solved for, and whatever else holds the square of them: time grows with the cube."""


@dataclass(frozen=True, eq=False)
class Ease:
    """Item-to-item weights B with a zero diagonal that best rebuild X as XB (Steck, 2019, eq. 8)."""

    items: Ints
    """[M] the most liked rows of the catalogue, in ascending order; all others have weight 0."""

    weights: Floats
    """[M, M]"""

    @classmethod
    def fit(cls, likes: sparse.csr_matrix, penalty: float) -> "Ease":
        """Solve for the weights among the liked items, or the `LARGEST` number of most liked ones.

        Args:
            likes: [U, N] 0 or 1.
            penalty: L2 penalty, above 0.

        Raises:
            TrainingError: If the penalty is not one to solve with.
        """
        counts = likes.getnnz(axis=0)
        best = np.argsort(-counts, kind="stable")[:LARGEST]
        items = np.sort(best[counts[best] > 0]).astype(np.int32)
        inverse = _regularised_inverse(likes[:, items].astype(np.float32), penalty)
        weights = inverse / -np.diag(inverse)
        weights[np.diag_indices(len(items))] = 0
        return cls(items=items, weights=np.ascontiguousarray(weights, dtype=np.float32))

    def score(self, likes: sparse.csr_matrix) -> Floats:
        """Scores of the whole catalogue.

        Args:
            likes: [B, N] histories.

        Returns:
            [B, N] float32, 0 for items that nobody liked.
        """
        scores = np.zeros(likes.shape, dtype=np.float32)
        scores[:, self.items] = likes[:, self.items].astype(np.float32) @ self.weights
        return scores


def _regularised_inverse(liked: sparse.csr_matrix, penalty: float) -> Floats:
    """[M, M] (X'X + penalty I)^-1 of `liked`, X [U, M]; in the smaller of its dimensions (Woodbury)."""
    wide = liked.shape[0] < liked.shape[1]
    gram = (liked @ liked.T if wide else liked.T @ liked).toarray()
    factor = root_of(gram, penalty, "ease_penalty"), True
    if not wide:
        inverse: Floats = linalg.cho_solve(factor, np.eye(len(gram), dtype=np.float32))
        return inverse
    inverse = -(liked.T @ linalg.cho_solve(factor, liked.toarray())) / np.float32(penalty)
    inverse[np.diag_indices(len(inverse))] += 1 / penalty
    return inverse


def root_of(gram: Floats, penalty: float, setting: str) -> Floats:
    """[K, K] the lower Cholesky root of `gram` + `penalty` I; what is in `gram` is lost.

    Args:
        gram: [K, K] X'X or XX'.
        penalty: L2 penalty, above 0.
        setting: What the penalty is called in a recipe.

    Raises:
        TrainingError: If the penalty is lost beside `gram` in its precision, does not help to tell columns
            apart, or is no number there.
    """
    limits = np.finfo(gram.dtype)
    if float(limits.eps * gram.max(initial=0)) < penalty < float(limits.max):
        gram[np.diag_indices(len(gram))] += penalty
        with suppress(linalg.LinAlgError):
            root: Floats = linalg.cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
            return root
    raise TrainingError(
        f"{setting} must be neither too small nor too large to solve with, got {penalty:g}; try 100"
    )
