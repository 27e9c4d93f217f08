"""What those like who might tick the same favourite genres: the teacher of stated preferences.

Symbols: `B` users of a batch, `U` users, `V` of them compared with, `N` items, `C` items
that are asked about, `G` genres, `P` powers.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from deepmoviematch.data.arrays import Flags, Floats, Ints, Longs
from deepmoviematch.trainer.models.similar_users import compared, shares_of_likes, total_likes

LEAST_SHARE = 0.01
"""Share of a genre in a user's likes, at the least, where it is asked whether they would tick it."""


@dataclass(frozen=True, eq=False)
class SimilarTastes:
    """Every user predicts what they like, by the chance that they would tick the same favourite genres."""

    rows: Longs
    """[V] the users, in ascending order."""

    likes: sparse.csr_matrix
    """[V, N] each user's likes, weighted n^-1/2 as the loss weighs n of them."""

    chances_to_tick: Floats
    """[P * G, V] logarithms of the chance that a user ticks a genre first, for each of P powers."""

    @classmethod
    def fit(
        cls, likes: sparse.csr_matrix, shares: Floats, powers: tuple[float, ...], seed: int
    ) -> "SimilarTastes":
        """Compute how likely users tick what.

        Args:
            likes: [U, N] 0 or 1, one at least.
            shares: [U, G] share of each genre in a user's likes.
            powers: P of them; genres are ticked in proportion to a power of their share.
            seed: Of the sample of users.
        """
        rows = compared(likes, seed)
        raised = np.maximum(shares[rows], LEAST_SHARE)[None] ** np.array(powers)[:, None, None]  # [P, V, G]
        chances = np.log(raised / raised.sum(axis=2, keepdims=True))
        weights = sparse.diags_array(1 / np.sqrt(likes[rows].getnnz(axis=1)).astype(np.float32))
        table = np.swapaxes(chances, 1, 2).reshape(-1, len(rows)).astype(np.float32)
        return cls(rows, (weights @ likes[rows]).tocsr(), table)

    def chances(self, ticked: Flags, powers: Longs, users: Longs, asked: Ints) -> Floats:
        """Share of each item in what users like who might tick the same genres.

        That one ticks two genres is taken for as likely as the product of both chances.

        Args:
            ticked: [B, G], one genre at least of each user.
            powers: [B] which of the powers each user ticks with.
            users: [B] the row of who ticked; nobody is their own neighbour.
            asked: [C] rows of the catalogue, ascending.

        Returns:
            [B, C] float32; over the whole catalogue rows sum to 1, or to 0 where there is nobody else.
        """
        told = np.zeros((len(ticked), len(self.chances_to_tick)), dtype=np.float32)
        places, genres = np.nonzero(ticked)
        told[places, powers[places] * ticked.shape[1] + genres] = 1
        logs = told @ self.chances_to_tick  # [B, V]
        logs[users[:, None] == self.rows] = -np.inf
        best = logs.max(axis=1, keepdims=True)
        weights = np.exp(logs - np.where(np.isfinite(best), best, 0))
        return shares_of_likes(weights, self.likes, self.totals, asked)

    @cached_property
    def totals(self) -> Floats:
        """[V] sum of each user's weighted likes."""
        return total_likes(self.likes)
