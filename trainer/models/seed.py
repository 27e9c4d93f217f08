"""The seed recipe: two content towers whose dot product is the scaled rating.

Inputs are standardised, ratings scaled to -1..1, the loss is the mean squared
error. Symbols: `R` rows, `N` items, `G` genres, `F` item features, `D` width.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from deepmoviematch.data.arrays import Flags, Floats, Longs
from deepmoviematch.data.catalogue import UNKNOWN_YEAR, Catalogue
from deepmoviematch.data.features import genre_means, year_statistics
from deepmoviematch.data.lab import LabRows
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.splits import random_split
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.data.weights import Weights
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.models.towers import content_item_tower, dense_arrays, genre_user_tower
from deepmoviematch.trainer.recipe import SeedRecipe

BLOCK = 65_536
"""Rows that are predicted at once."""

AVERAGE_RATING = ("ave rating", "average rating")
"""What the item's average rating is called, as a feature."""


@dataclass(frozen=True, eq=False)
class SeedRows:
    """A row for each rating: the user's features, the item's features, the rating."""

    genre_names: tuple[str, ...]
    """[G] columns of `users`: average stars that the user gave the genre, 0 if none."""

    feature_names: tuple[str, ...]
    """[F] columns of `items`."""

    user_ids: tuple[str, ...]
    """[R] carried for people, not fed to a tower."""

    item_ids: tuple[str, ...]
    """[R] carried likewise."""

    carried: Floats
    """[R, S] what is known of the user besides and carried for people."""

    carried_names: tuple[str, ...]
    """[S] columns of `carried`: how many ratings the user gave, and their average."""

    users: Floats
    """[R, G]"""

    items: Floats
    """[R, F]"""

    ratings: Floats
    """[R] in the data's units."""

    catalogue: Floats
    """[N, F] features of every item."""

    train: Longs
    """Rows to train on."""

    test: Longs
    """Rows that are never trained on."""

    leaks: bool
    """Whether the features were computed with the test rows' ratings too."""

    @property
    def digest(self) -> str:
        """SHA-256 of all that training sees, ids and split included."""
        digest = hashlib.sha256(repr((self.genre_names, self.feature_names)).encode())
        digest.update(repr((self.user_ids, self.item_ids)).encode())
        for column in (self.users, self.items, self.ratings, self.catalogue, self.train, self.test):
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()

    @classmethod
    def of_lab(cls, lab: LabRows, recipe: SeedRecipe) -> Self:
        """The matrices of the exercise as they are, split 80/20 like there."""
        dropped = () if recipe.average_rating else AVERAGE_RATING
        fed = [i for i, name in enumerate(lab.feature_names) if name.casefold() not in dropped]
        train, test = random_split(len(lab.ratings), test_share=recipe.test_share, seed=recipe.seed)
        return cls(
            genre_names=lab.catalogue.genre_names,
            feature_names=tuple(lab.feature_names[i] for i in fed),
            user_ids=lab.user_ids,
            item_ids=lab.item_ids,
            carried=lab.user_statistics,
            carried_names=lab.statistic_names,
            users=lab.user_features,
            items=lab.item_features[:, fed],
            ratings=lab.ratings,
            catalogue=lab.catalogue_features[:, fed],
            train=train,
            test=test,
            leaks=True,
        )

    @classmethod
    def of_ratings(cls, catalogue: Catalogue, ratings: Ratings, recipe: SeedRecipe) -> Self:
        """The same features from the two tables, computed from the training rows alone."""
        train, test = random_split(len(ratings), test_share=recipe.test_share, seed=recipe.seed)
        is_train = np.isin(np.arange(len(ratings)), train)
        known = ratings.take(is_train)
        size = len(ratings.user_ids)
        present = np.bincount(ratings.users[is_train], minlength=size) > 0
        means = np.full((size, len(catalogue.genre_names)), np.nan, dtype=np.float32)
        batch = UserBatch.of_histories(known, len(catalogue.genre_names))
        means[present] = genre_means(batch, catalogue.genres)
        counts = np.bincount(ratings.users[is_train], minlength=size)
        totals = np.bincount(ratings.users[is_train], weights=known.ratings, minlength=size)
        statistics = np.column_stack([counts, totals / np.maximum(counts, 1)]).astype(np.float32)
        features, names = _item_features(catalogue, known, recipe)
        return cls(
            genre_names=catalogue.genre_names,
            feature_names=names,
            user_ids=tuple(ratings.user_ids[row] for row in ratings.users),
            item_ids=tuple(catalogue.item_ids[row] for row in ratings.items),
            carried=statistics[ratings.users],
            carried_names=("rating count", "rating ave"),
            users=np.nan_to_num(means, nan=0.0)[ratings.users],
            items=features[ratings.items],
            ratings=ratings.ratings,
            catalogue=features,
            train=train,
            test=test,
            leaks=False,
        )


def _item_features(
    catalogue: Catalogue, ratings: Ratings, recipe: SeedRecipe
) -> tuple[Floats, tuple[str, ...]]:
    """[N, F] year, average rating if wanted, genre flags; what is unknown is the average."""
    mean, _ = year_statistics(catalogue)
    years = np.where(catalogue.years != UNKNOWN_YEAR, catalogue.years, mean)
    counts = np.bincount(ratings.items, minlength=len(catalogue))
    totals = np.bincount(ratings.items, weights=ratings.ratings, minlength=len(catalogue))
    averages = np.where(counts > 0, totals / np.maximum(counts, 1), ratings.ratings.mean())
    columns = [years, averages, catalogue.genres] if recipe.average_rating else [years, catalogue.genres]
    names = ("year", AVERAGE_RATING[0])[: len(columns) - 1] + catalogue.genre_names
    return np.column_stack(columns).astype(np.float32), names


class SeedTowers:
    """The pair of Keras towers of the seed recipe, with their scalers."""

    def __init__(self, rows: SeedRows, genres: Flags, recipe: SeedRecipe) -> None:
        """Build towers with fresh weights and fit the scalers on the training rows.

        Args:
            rows: What the towers will be trained on.
            genres: [N, G] genre flags of the catalogue, to read taste off a history.
            recipe: Widths.

        Raises:
            TrainingError: If there are no genres.
        """
        if not rows.genre_names:
            raise TrainingError(
                "the seed recipe reads tastes off genres, got a catalogue without any; use --recipe retrieval"
            )
        self._genres, self._catalogue = genres, rows.catalogue
        self.user_scaler = StandardScaler().fit(rows.users[rows.train])
        self.item_scaler = StandardScaler().fit(rows.items[rows.train])
        self.target_scaler = MinMaxScaler((-1, 1)).fit(rows.ratings[rows.train][:, None])
        self.user = genre_user_tower(rows.users.shape[1], hidden=recipe.hidden, dim=recipe.embedding_dim)
        self.item = content_item_tower(rows.items.shape[1], hidden=recipe.hidden, dim=recipe.embedding_dim)

    def scaled(self, users: Floats, items: Floats) -> tuple[Floats, Floats]:
        """Standardise rows of user features and of item features."""
        return (
            self.user_scaler.transform(users).astype(np.float32),
            self.item_scaler.transform(items).astype(np.float32),
        )

    def predict(self, users: Floats, items: Floats) -> Floats:
        """Ratings in the data's units.

        Args:
            users: [R, G] unscaled.
            items: [R, F] unscaled.

        Returns:
            [R] float32, within the scale of the training ratings.
        """
        products = np.concatenate(
            [
                self._products(users[first : first + BLOCK], items[first : first + BLOCK])
                for first in range(0, len(users), BLOCK)
            ]
        )
        predicted: Floats = self.target_scaler.inverse_transform(products)[:, 0].astype(np.float32)
        return predicted

    def _products(self, users: Floats, items: Floats) -> Floats:
        """[R, 1] inner products of unscaled rows."""
        pairs = zip((self.user, self.item), self.scaled(users, items), strict=True)
        left, right = (tower(tf.constant(features), training=False).numpy() for tower, features in pairs)
        products: Floats = np.sum(left * right, axis=1, keepdims=True)
        return products

    def item_vectors(self) -> Floats:
        """[N, D] unit vectors of the catalogue."""
        scaled = self.item_scaler.transform(self._catalogue).astype(np.float32)
        vectors: Floats = self.item(tf.constant(scaled), training=False).numpy()
        return vectors

    def directions(self) -> Floats:
        """[N, D] what makes items alike: their vectors, whose length carries nothing."""
        return self.item_vectors()

    def score(self, users: UserBatch) -> Floats:
        """[B, N] inner products with the whole catalogue for each user."""
        stars = np.where(np.isnan(users.preferences), genre_means(users, self._genres), users.preferences)
        scaled = self.user_scaler.transform(np.nan_to_num(stars, nan=0.0)).astype(np.float32)
        vectors: Floats = self.user(tf.constant(scaled), training=False).numpy()
        return vectors @ self.item_vectors().T

    def export(self) -> tuple[Weights, Weights]:
        """The user tower and the item tower for NumPy (`indexer/towers`)."""
        user = {
            "mean": self.user_scaler.mean_,
            "scale": self.user_scaler.scale_,
            "item_genres": self._genres,
        }
        item = {
            "mean": self.item_scaler.mean_,
            "scale": self.item_scaler.scale_,
            "features": self._catalogue,
        }
        return (
            Weights({"kind": "genres"}, _float32(user) | dense_arrays(self.user)),
            Weights({"kind": "content"}, _float32(item) | dense_arrays(self.item)),
        )


def _float32(arrays: dict[str, npt.NDArray[np.generic]]) -> dict[str, Floats]:
    return {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()}


class SeedTask:
    """Trains `SeedTowers` on rows; see `trainer.models.loop.Task`."""

    def __init__(self, towers: SeedTowers, rows: SeedRows, recipe: SeedRecipe) -> None:
        """Scale the rows and set Adam up."""
        self._towers, self._rows, self._recipe = towers, rows, recipe
        self._users, self._items = towers.scaled(rows.users, rows.items)
        self._targets = towers.target_scaler.transform(rows.ratings[:, None])[:, 0].astype(np.float32)
        self.models = (towers.user, towers.item)
        self.trainable = [*towers.user.trainable_variables, *towers.item.trainable_variables]
        self.optimizer = keras.optimizers.Adam(recipe.learning_rate)

    def batches(self, epoch: int) -> Iterator[tuple[Floats, Floats, Floats]]:
        """See `trainer.models.loop.Task.batches`: user features [B, G], item features [B, F], targets [B]."""
        order = np.random.default_rng([self._recipe.seed, epoch]).permutation(self._rows.train)
        for first in range(0, len(order), self._recipe.batch_size):
            rows = order[first : first + self._recipe.batch_size]
            yield self._users[rows], self._items[rows], self._targets[rows]

    def loss(self, *batch: tf.Tensor, training: bool = True) -> tf.Tensor:
        """Mean squared error in scaled units."""
        users, items, targets = batch
        vectors = self._towers.user(users, training=training), self._towers.item(items, training=training)
        products = tf.reduce_sum(vectors[0] * vectors[1], axis=1)
        return tf.reduce_mean(tf.square(products - targets))

    def measure(self) -> dict[str, float]:
        """Mean squared error of the test rows, in scaled units."""
        total = 0.0
        for first in range(0, len(self._rows.test), BLOCK):
            rows = self._rows.test[first : first + BLOCK]
            batch = (self._users[rows], self._items[rows], self._targets[rows])
            total += len(rows) * float(self.loss(*map(tf.constant, batch), training=False))
        return {"test_mse": total / len(self._rows.test)}
