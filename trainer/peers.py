"""The recommenders that two towers are measured against.

Each is fitted on the likes of the training users and scores the catalogue for the
likes of a new user's history. Symbols: `B` users, `U` training users, `N` items,
`G` genres.
"""

from typing import Protocol

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from deepmoviematch.data.features import LIKE_STARS, UserBatch, lift_from_preferences
from deepmoviematch.data.tables import Catalogue, Floats, Ratings

from .ease import Ease, like_matrix
from .views import base_shares, genre_lift, genre_shares


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
    """Ranks by popularity times how much more than others the user likes the item's genres.

    The lift of a genre is what the user states, else what the history shows.
    """

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
        self._base = base_shares(genre_shares(likes, catalogue.genres), likes)
        self._strength = strength

    def score(self, users: UserBatch) -> Floats:
        """See `Ranker.score`."""
        shares = genre_shares(liked_histories(users, len(self._genres)), self._genres)
        shown = np.where(shares.any(axis=1, keepdims=True), genre_lift(shares, self._base), 1)
        lift = np.where(np.isnan(users.preferences), shown, lift_from_preferences(users.preferences))
        logs = np.log(np.maximum(lift, 0.05))  # [B, G]
        mean = logs @ self._genres.T / np.maximum(self._genres.sum(axis=1), 1)  # [B, N]
        boosted: Floats = self._popularity.score(users) * np.exp(self._strength * mean)
        return boosted


class ItemKnn:
    """Sums the cosines between an item and the history, of each item's nearest neighbours only."""

    def __init__(self, catalogue: Catalogue, ratings: Ratings, neighbours: float) -> None:
        """Compute the cosines (Sarwar et al., 2001).

        Args:
            catalogue: N items.
            ratings: Training ratings.
            neighbours: Neighbours that each item keeps, rounded.
        """
        likes = like_matrix(ratings, len(catalogue), threshold=LIKE_STARS)
        norms = np.sqrt(np.maximum(np.asarray(likes.sum(axis=0)).ravel(), 1))
        scaled = likes @ sparse.diags_array(1 / norms)
        cosines = (scaled.T @ scaled).toarray().astype(np.float32)
        np.fill_diagonal(cosines, 0)
        kept = min(max(round(neighbours), 1), len(catalogue))
        nearest = np.argpartition(-cosines, kept - 1, axis=0)[:kept]  # [kept, N]
        columns = np.tile(np.arange(len(catalogue)), (kept, 1))
        values = np.take_along_axis(cosines, nearest, axis=0)
        shape = (len(catalogue), len(catalogue))
        self._cosines = sparse.csr_matrix((values.ravel(), (nearest.ravel(), columns.ravel())), shape=shape)

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


class Ials:
    """Ranks by implicit-feedback matrix factorisation, with the user's factors solved from the history.

    The implementation is that of the `implicit` library (Hu, Koren and Volinsky, 2008).
    """

    FACTORS = 64
    SWEEPS = 15

    def __init__(self, catalogue: Catalogue, ratings: Ratings, regularization: float, alpha: float) -> None:
        """Fit factors of users and items.

        Args:
            catalogue: N items.
            ratings: Training ratings.
            regularization: L2 penalty.
            alpha: Weight of a like over what is not known.
        """
        from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - only peers need it

        self._items = len(catalogue)
        likes = like_matrix(ratings, len(catalogue), threshold=LIKE_STARS)
        with threadpool_limits(1, user_api="blas"):  # the library's own threads do the work
            self._model = AlternatingLeastSquares(
                factors=self.FACTORS,
                regularization=regularization,
                alpha=alpha,
                iterations=self.SWEEPS,
                random_state=1,
            )
            self._model.fit(likes, show_progress=False)

    def score(self, users: UserBatch) -> Floats:
        """See `Ranker.score`."""
        with threadpool_limits(1, user_api="blas"):
            likes = liked_histories(users, self._items)
            factors = self._model.recalculate_user(np.arange(len(users)), likes)
        scores: Floats = factors @ self._model.item_factors.T
        return scores


class GenreCosine:
    """Ranks by the cosine between the genres that the user likes and the item's: works for new items."""

    def __init__(self, catalogue: Catalogue, ratings: Ratings) -> None:
        """Take the genres; the ratings teach nothing."""
        lengths = np.sqrt(np.maximum(catalogue.genres.sum(axis=1, keepdims=True), 1))
        self._genres, self._unit = catalogue.genres, catalogue.genres / lengths

    def score(self, users: UserBatch) -> Floats:
        """See `Ranker.score`."""
        shares = genre_shares(liked_histories(users, len(self._genres)), self._genres)
        scores: Floats = (shares @ self._unit.T).astype(np.float32)
        return scores


def popularity(ratings: Ratings, items: int) -> Floats:
    """[N] share of the users who liked each item."""
    likes = np.bincount(ratings.items[ratings.stars >= LIKE_STARS], minlength=items)
    return (likes / len(ratings.user_ids)).astype(np.float32)


def liked_histories(users: UserBatch, items: int) -> sparse.csr_matrix:
    """[B, N] float32 matrix with 1 for each like of a history."""
    liked = users.stars >= LIKE_STARS
    ones = np.ones(int(liked.sum()), dtype=np.float32)
    return sparse.csr_matrix((ones, (users.owners[liked], users.items[liked])), shape=(len(users), items))
