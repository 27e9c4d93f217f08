"""What a few likes say, in closed form: a linear guess that the teacher of short histories heeds too.

Users who are similar by a few likes are so by chance as well; a linear model averages over everybody, but
knows pairs of items only. Together they rank better than either. Unlike EASE's, its weights are the best ones
for histories of `TOLD_LIKES` likes: where each like of a user with n is told with the chance
p = `TOLD_LIKES` / n, z is what is told and y what is of interest and not told,

    B = (E[z'z] + penalty)^-1 E[z'y],    without what an item says of itself

(a linear denoising autoencoder, marginalised as by Chen et al., 2012; Steck, 2020).
Symbols: `B` histories, `U` users, `N` items, `M` liked ones, `C` items that are asked about.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from deepmoviematch.data.arrays import Floats, Ints
from deepmoviematch.trainer.ease import LARGEST
from deepmoviematch.trainer.models.similar_users import compared

TOLD_LIKES = 3
"""Likes of a history, for which it is the best guess."""

MOST_TOLD = 0.9
"""Share of the likes that is told of users who have hardly more."""

PENALTY = 3.0


@dataclass(frozen=True, eq=False)
class FewLikes:
    """Item-to-item weights for short histories."""

    items: Ints
    """[M] the liked rows of the catalogue, in ascending order; all others have weight 0."""

    weights: Floats
    """[M, M]"""

    @classmethod
    def fit(cls, likes: sparse.csr_matrix, interests: sparse.csr_matrix, seed: int) -> "FewLikes | None":
        """Solve for the users that similar ones are looked for among; None where too many items are liked.

        Args:
            likes: [U, N] 0 or 1, one at least.
            interests: [U, N] 1 for a like, less for another rating.
            seed: Of the sample of users.
        """
        rows = compared(likes, seed)
        items = np.flatnonzero(likes[rows].getnnz(axis=0)).astype(np.int32)
        if len(items) > LARGEST:
            return None
        known, wanted = likes[rows][:, items], interests[rows][:, items]
        chance = np.minimum(TOLD_LIKES / known.getnnz(axis=1), MOST_TOLD).astype(np.float32)
        told = sparse.diags_array(chance) @ known
        # Two likes of a user are told with p^2, one of them and not the other with p (1 - p), and what
        # is rated and not liked is never told.
        together = (told.T @ (wanted - told)).toarray()
        together[np.diag_indices(len(items))] = 0
        alone = PENALTY + np.ravel(told.sum(axis=0) - told.multiply(told).sum(axis=0)).astype(np.float32)
        return cls(items, np.ascontiguousarray(_solved(told.tocsr(), alone, together)))

    def score(self, histories: sparse.csr_matrix, asked: Ints) -> Floats:
        """[B, C] scores of the rows `asked` of the catalogue: sums of the weights of what is told.

        Args:
            histories: [B, N] 0 or 1.
            asked: [C] rows of the catalogue.
        """
        scores = np.zeros(histories.shape, dtype=np.float32)
        scores[:, self.items] = histories[:, self.items] @ self.weights
        found: Floats = scores[:, asked]
        return found


def _solved(told: sparse.csr_matrix, alone: Floats, together: Floats) -> Floats:
    """(T'T + diag(`alone`))^-1 `together` for T = `told` [U, M], in its smaller dimension (Woodbury)."""
    if told.shape[0] >= told.shape[1]:
        gram = (told.T @ told).toarray()
        gram[np.diag_indices(len(gram))] += alone
        factor = linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
        solved: Floats = linalg.cho_solve(factor, together, overwrite_b=True, check_finite=False)
        return solved
    spread = (told @ sparse.diags_array(1 / alone)).tocsr()
    gram = (spread @ told.T).toarray()
    gram[np.diag_indices(len(gram))] += 1
    factor = linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    found = together / alone[:, None]
    found -= spread.T @ linalg.cho_solve(factor, told @ found, check_finite=False)
    return found
