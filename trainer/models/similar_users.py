"""What similar users like: the teacher of short histories.

Where few likes are known, neighbours among the users (Herlocker et al., 1999) rank better than EASE does
with any penalty, and far better than with the one that suits long histories. What neighbours rated and
did not like interested them too, and counts for less. Who told one like, or likes that hardly anyone
else shares, has few neighbours to speak of; what interests everybody is the better guess then. So that counts
as well, as the prior of a Dirichlet distribution does: for half of what a like says on average, and
for nothing where no two users like the same.
Symbols: `B` histories, `U` users, `V` of them compared with, `N` items, `C` items
that are asked about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from deepmoviematch.data.arrays import Floats, Ints, Longs

MOST_USERS = 5_000
"""Users that a history is compared with; of more, a sample."""

PRIOR = 0.5
"""What interests everybody counts as much as this many likes of a history have to say, on average."""


@dataclass(frozen=True, eq=False)
class SimilarUsers:
    """Every user predicts what they like, by the square of a cosine with the history."""

    rows: Longs
    """[V] the users, in ascending order."""

    interests: sparse.csr_matrix
    """[V, N] 1 for a like, less for another rating."""

    profiles: sparse.csr_matrix
    """[N, V] what a like of an item adds to the similarity to a user: rare items say more."""

    prior: Floats
    """[N] interests of everybody, whoever asks among them, that count beside those of neighbours."""

    @classmethod
    def fit(cls, likes: sparse.csr_matrix, interests: sparse.csr_matrix, seed: int) -> "SimilarUsers":
        """Weigh likes by the inverse frequency of their item and by the length of their user's list.

        Args:
            likes: [U, N] 0 or 1, one at least.
            interests: [U, N] what users predict: likes, and what else they rated for less.
            seed: Of the sample of users.
        """
        rows = compared(likes, seed)
        counts = likes.getnnz(axis=0)
        rarity = np.log(likes.shape[0] / np.maximum(counts, 1)).astype(np.float32)
        lengths = np.sqrt(likes[rows].getnnz(axis=1)).astype(np.float32)
        profiles = (sparse.diags_array(1 / lengths) @ likes[rows] @ sparse.diags_array(rarity)).T.tocsr()
        everybody = np.ravel(interests[rows].sum(axis=0)).astype(np.float32)
        said = _said_by_a_like(likes[rows].getnnz(axis=0), profiles, total_likes(interests[rows]))
        prior = PRIOR * said / everybody.sum() * everybody
        return cls(rows, interests[rows], profiles, prior)

    def chances(self, histories: sparse.csr_matrix, users: Longs, asked: Ints) -> Floats:
        """Share of each item that is asked about in what interests users who are similar to a history.

        Args:
            histories: [B, N] 0 or 1.
            users: [B] the row of whom each history is from; nobody is their own neighbour.
            asked: [C] rows of the catalogue.

        Returns:
            [B, C] float32, 0 where no history is known, or there is neither neighbour nor prior; over the
            whole catalogue rows would sum to 1.
        """
        similarity = np.square((histories @ self.profiles).toarray())  # [B, V]
        similarity[users[:, None] == self.rows] = 0
        shares = shares_of_likes(similarity, self.interests, self.totals, asked, self.prior)
        shares[histories.getnnz(axis=1) == 0] = 0
        return shares

    @cached_property
    def totals(self) -> Floats:
        """[V] sum of each user's interests."""
        return total_likes(self.interests)


def total_likes(likes: sparse.csr_matrix) -> Floats:
    """[V] sum of each row of `likes` [V, N]."""
    return np.ravel(likes.sum(axis=1)).astype(np.float32)


def _said_by_a_like(counts: Longs, profiles: sparse.csr_matrix, totals: Floats) -> float:
    """Sum of what interests others, by their similarity to a history of one like; the mean over all likes."""
    sums = profiles.multiply(profiles) @ totals  # [N], the user whose like it is among the others
    return float((counts - 1) @ sums) / max(int(counts.sum()), 1)


def shares_of_likes(
    weights: Floats,
    likes: sparse.csr_matrix,
    totals: Floats,
    asked: Ints,
    prior: Floats | None = None,
) -> Floats:
    """Share of each item that is asked about in what weighted users like.

    Args:
        weights: [B, V] how much each of V users counts.
        likes: [V, N] what they like.
        totals: [V] the sums of its rows.
        asked: [C] rows of the catalogue.
        prior: [N] what counts as liked besides.

    Returns:
        [B, C] float32, 0 where nothing counts; over the whole catalogue rows would sum to 1.
    """
    # Not by BLAS, which for very few users may report numbers that it read beyond them.
    all_likes = np.sum(weights * totals, axis=1, keepdims=True)
    if prior is not None:
        all_likes += prior.sum()
    scale = 1 / np.maximum(all_likes, np.finfo(np.float32).tiny)
    shares = (weights * scale) @ (likes if len(asked) == likes.shape[1] else likes[:, asked])
    if prior is not None:
        shares += scale * prior[asked]
    return np.asarray(shares, dtype=np.float32)


def compared(likes: sparse.csr_matrix, seed: int | Sequence[int], most: int | None = None) -> Longs:
    """[V] rows of the users with likes [U, N], ascending: all, or a sample of `most`, else `MOST_USERS`."""
    rows, most = np.flatnonzero(likes.getnnz(axis=1)), most or MOST_USERS
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return rows
