"""The recommenders that two towers are measured against.

Each is fitted on the likes of the training users and scores the catalogue for the
likes of a new user's history. Symbols: `B` users, `U` training users, `N` items,
`G` genres.
"""

from typing import Protocol

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.features import lift_from_preferences
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.ease import Ease
from deepmoviematch.trainer.likes import base_shares, genre_lift, genre_shares, like_matrix, liked_histories

BLOCK = 256
"""Items whose neighbours are looked for at once: a square of the catalogue would not fit."""


class Ranker(Protocol):
    """Anything that can rank the catalogue for users described by features."""

    def score(self, users: UserBatch) -> Floats:
        """[B, N] scores of the whole catalogue for each user, higher is better."""


class Popularity:
    """Ranks by the number of likes, the same for everyone."""

    def __init__(self, catalogue: Catalogue, ratings: Ratings) -> None:
        """Count the likes of each item."""
        likes = like_matrix(ratings, len(catalogue))
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
        likes = like_matrix(ratings, len(catalogue))
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
        # In logarithms, where no strength is too large; an item without likes counts as a hundredth of one.
        popular = np.log(np.maximum(self._popularity.score(users), 0.01))
        boosted: Floats = (popular + self._strength * mean).astype(np.float32)
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
        likes = like_matrix(ratings, len(catalogue))
        norms = np.sqrt(np.maximum(np.asarray(likes.sum(axis=0)).ravel(), 1))
        scaled = (likes @ sparse.diags_array(1 / norms)).tocsr()
        kept = max(round(neighbours), 1)
        blocks = [_nearest(scaled, first, kept) for first in range(0, len(catalogue), BLOCK)]
        self._cosines = sparse.vstack(blocks, format="csr", dtype=np.float32).T.tocsr()

    def score(self, users: UserBatch) -> Floats:
        """See `Ranker.score`."""
        scores: Floats = (liked_histories(users, self._cosines.shape[0]) @ self._cosines).toarray()
        return scores


def _nearest(scaled: sparse.csr_matrix, first: int, kept: int) -> sparse.csr_matrix:
    """[at most BLOCK, N] the `kept` largest cosines of each item from `first` on, without its own."""
    cosines = (scaled[:, first : first + BLOCK].T @ scaled).tocsr()
    chosen = []
    for row, (begin, end) in enumerate(zip(cosines.indptr[:-1], cosines.indptr[1:], strict=True)):
        places = begin + np.flatnonzero(cosines.indices[begin:end] != first + row)
        if len(places) > kept:
            places = places[np.argpartition(-cosines.data[places], kept - 1)[:kept]]
        chosen.append(places)
    places = np.concatenate(chosen)
    offsets = np.cumsum([0, *map(len, chosen)])
    return sparse.csr_matrix((cosines.data[places], cosines.indices[places], offsets), shape=cosines.shape)


class EaseRanker:
    """Ranks by closed-form EASE (`trainer/ease.py`)."""

    def __init__(self, catalogue: Catalogue, ratings: Ratings, penalty: float) -> None:
        """Solve EASE for the training likes."""
        likes = like_matrix(ratings, len(catalogue))
        self._ease = Ease.fit(likes, penalty)
        self._items = len(catalogue)
        self.solved, self.liked = len(self._ease.items), int((likes.getnnz(axis=0) > 0).sum())
        """How many items EASE was solved for, the most liked ones, of how many."""

    def score(self, users: UserBatch) -> Floats:
        """See `Ranker.score`."""
        return self._ease.score(liked_histories(users, self._items))


class Ials:
    """Ranks by implicit-feedback matrix factorisation, with the user's factors solved from the history.

    The implementation is that of the `implicit` library (Hu, Koren and Volinsky, 2008).
    """

    SWEEPS = 15

    SMALL = 20_000
    """Likes below which threads cost more than they bring."""

    def __init__(
        self, catalogue: Catalogue, ratings: Ratings, factors: float, regularization: float, alpha: float
    ) -> None:
        """Fit factors of users and items.

        Args:
            catalogue: N items.
            ratings: Training ratings.
            factors: Width of a factor, rounded.
            regularization: L2 penalty.
            alpha: Weight of a like; what is not known weighs 1.
        """
        from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - only peers need it

        self._items = len(catalogue)
        likes = like_matrix(ratings, len(catalogue))
        with threadpool_limits(1, user_api="blas"):  # the library's own threads do the work
            self._model = AlternatingLeastSquares(
                factors=max(round(factors), 1),
                regularization=regularization,
                alpha=alpha,
                iterations=self.SWEEPS,
                random_state=1,
                num_threads=1 if likes.nnz < self.SMALL else 0,
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
