"""The recommenders that two towers are measured against.

Each is fitted on the likes of the training users and scores the catalogue for the
likes of a new user's history. Symbols: `B` users, `U` training users, `N` items,
`G` genres.
"""

from typing import Protocol

import numpy as np
from scipy import sparse

from deepmoviematch.data.features import LIKE_STARS, UserBatch
from deepmoviematch.data.tables import Catalogue, Floats, Ratings

from .ease import Ease, like_matrix
from .views import genre_lift, genre_shares


class Ranker(Protocol):
    """Anything that can rank the catalogue for users described by features."""

    def score(self, users: UserBatch) -> Floats:
        """[B, N] scores of the whole catalogue for each user, higher is better."""


class Popularity:
    """Ranks by the number of likes, the same for everyone."""

    def __init__(self, catalogue: Catalogue, ratings: Ratings) -> None:
        """Count the likes of each item."""
        likes = like_matrix(ratings, len(catalogue), threshold=LIKE_STARS)
        self._likes = np.asarray(likes.sum(axis=0), dtype=np.float32).ravel()

    def score(self, users: UserBatch) -> Floats:
        """See `Ranker.score`."""
        return np.tile(self._likes, (len(users), 1))


class GenrePopularity:
    """Ranks by popularity times how much more than others the user likes the item's genres."""

    def __init__(self, catalogue: Catalogue, ratings: Ratings, strength: float) -> None:
        """Count likes and the base share of each genre.

        Args:
            catalogue: N items.
            ratings: Training ratings.
            strength: Exponent of the lift.
        """
        likes = like_matrix(ratings, len(catalogue), threshold=LIKE_STARS)
        self._popularity = Popularity(catalogue, ratings)
        self._genres = catalogue.genres
        self._base = genre_shares(likes, catalogue.genres).mean(axis=0)
        self._strength = strength

    def score(self, users: UserBatch) -> Floats:
        """See `Ranker.score`."""
        shares = genre_shares(liked_histories(users, len(self._genres)), self._genres)
        octaves = np.log(np.maximum(genre_lift(shares, self._base), 0.05))  # [B, G]
        mean = octaves @ self._genres.T / np.maximum(self._genres.sum(axis=1), 1)  # [B, N]
        boosted: Floats = self._popularity.score(users) * np.exp(self._strength * mean)
        return boosted


class ItemKnn:
    """Sums the cosines between an item and the history, of each item's nearest neighbours only."""

    def __init__(self, catalogue: Catalogue, ratings: Ratings, neighbours: int) -> None:
        """Compute the cosines (Sarwar et al., 2001).

        Args:
            catalogue: N items.
            ratings: Training ratings.
            neighbours: Neighbours that each item keeps.
        """
        likes = like_matrix(ratings, len(catalogue), threshold=LIKE_STARS)
        norms = np.sqrt(np.maximum(np.asarray(likes.sum(axis=0)).ravel(), 1))
        scaled = likes @ sparse.diags_array(1 / norms)
        cosines = (scaled.T @ scaled).toarray().astype(np.float32)
        np.fill_diagonal(cosines, 0)
        kept = min(max(neighbours, 1), len(catalogue) - 1)
        cut = -np.partition(-cosines, kept, axis=0)[kept]
        self._cosines = sparse.csr_matrix(np.where(cosines > cut, cosines, 0))

    def score(self, users: UserBatch) -> Floats:
        """See `Ranker.score`."""
        scores: Floats = (liked_histories(users, self._cosines.shape[0]) @ self._cosines).toarray()
        return scores


class EaseRanker:
    """Ranks by closed-form EASE (`ease.py`)."""

    def __init__(self, catalogue: Catalogue, ratings: Ratings, penalty: float) -> None:
        """Solve EASE for the training likes."""
        self._ease = Ease.fit(like_matrix(ratings, len(catalogue), threshold=LIKE_STARS), penalty)
        self._items = len(catalogue)

    def score(self, users: UserBatch) -> Floats:
        """See `Ranker.score`."""
        return self._ease.score(liked_histories(users, self._items))


def liked_histories(users: UserBatch, items: int) -> sparse.csr_matrix:
    """[B, N] float32 matrix with 1 for each like of a history."""
    liked = users.stars >= LIKE_STARS
    ones = np.ones(int(liked.sum()), dtype=np.float32)
    return sparse.csr_matrix((ones, (users.owners[liked], users.items[liked])), shape=(len(users), items))
