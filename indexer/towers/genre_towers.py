"""The seed recipe's towers in NumPy: content alone.

Symbols: `B` users, `N` items, `G` genres, `F` content features.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.context import NO_MOMENT, Moment
from deepmoviematch.data.features import genre_means
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.towers.genre_path import GenrePath
from deepmoviematch.indexer.towers.mlp import Mlp, check_rows, unit
from deepmoviematch.indexer.towers.moments import Moments


class GenreUserTower:
    """The seed recipe's user tower: an MLP over the average stars per genre.

    Preferences that the user did not state are averaged from the history, the way
    that the training features are; what is left unknown is 0, as in the training
    matrices of the exercise.
    """

    def __init__(self, weights: Weights) -> None:
        """Take `mean` and `scale` [G], the MLP `mlp`, and the catalogue's `item_genres` [N, G]."""
        self._mean, self._scale = weights.arrays["mean"], weights.arrays["scale"]
        self._genres: Flags = weights.arrays["item_genres"] > 0
        self._mlp = Mlp(weights, "mlp")
        self.moments = Moments(weights, self._mlp.outputs)  # its recipe teaches none
        if not self._mlp.inputs == len(self._mean) == len(self._scale) == self._genres.shape[1]:
            raise ValueError(f"the MLP takes {self._mlp.inputs} genres, the scaler {len(self._mean)}")
        self.width = self.dim = self.next_dim = self._mlp.outputs

    def embed(self, users: UserBatch) -> Floats:
        """See `UserTower.embed`."""
        averages = genre_means(users, self._genres)
        stars = np.where(np.isnan(users.preferences), averages, users.preferences)
        return unit(self._mlp((np.nan_to_num(stars, nan=0.0) - self._mean) / self._scale))

    def embed_next(self, users: UserBatch) -> Floats:
        """See `UserTower.embed_next`; order changes nothing."""
        return self.embed(users)

    def embed_one(
        self, preferences: Mapping[int, float], history: Mapping[int, float], moment: Moment = NO_MOMENT
    ) -> Floats:
        """See `UserTower.embed_one`."""
        vectors = self.embed(UserBatch.of(len(self._mean), [preferences], [history]))
        vector: Floats = vectors[0]
        return vector

    embed_next_one = embed_one

    def embed_histories(self, histories: Sequence[Mapping[int, float]]) -> Floats:
        """See `UserTower.embed_histories`."""
        return np.stack([self.embed_one({}, history) for history in histories])

    def path(
        self,
        preferences: Mapping[int, float],
        history: Mapping[int, float],
        moment: Moment = NO_MOMENT,
        *,
        asks_next: bool,
    ) -> GenrePath:
        """See `UserTower.path`."""
        return GenrePath(
            preferences, history, mlp=self._mlp, mean=self._mean, scale=self._scale, genres=self._genres
        )


class ContentItemTower:
    """The seed recipe's item tower: an MLP over year, average rating and genre flags."""

    def __init__(self, weights: Weights) -> None:
        """Take `mean` and `scale` [F], the catalogue's unscaled `features` [N, F] and the MLP `mlp`."""
        self._mean, self._scale = weights.arrays["mean"], weights.arrays["scale"]
        self._features = weights.arrays["features"]
        self._mlp = Mlp(weights, "mlp")
        if not self._mlp.inputs == len(self._mean) == len(self._scale) == self._features.shape[1]:
            raise ValueError(f"the MLP takes {self._mlp.inputs} features, the scaler {len(self._mean)}")
        self.dim = self.next_dim = self._mlp.outputs

    def embed(self, catalogue: Catalogue) -> Floats:
        """See `ItemTower.embed`."""
        check_rows(self._features, catalogue)
        return unit(self._mlp((self._features - self._mean) / self._scale))

    def embed_next(self, catalogue: Catalogue) -> Floats:
        """See `ItemTower.embed_next`; order changes nothing."""
        return self.embed(catalogue)

    def directions(self, vectors: Floats) -> Floats:
        """The vectors as they are: their length carries nothing."""
        return vectors
