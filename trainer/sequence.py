"""The second phase of the retrieval recipe: what the order of a history adds.

The towers are left as they are. A sequence tower learns what to add to a user's
taste so that the next like comes up; whoever does not ask what is next never meets
it, so that one question is not answered at the other's cost. Symbols: `B`
users, `N` items, `D` width, `L` latest interactions.
"""

from collections.abc import Iterator

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from deepmoviematch.data.features import LIKE_STARS, UserBatch, recent_items
from deepmoviematch.data.tables import Ratings, Times

from .losses import masked_log_softmax
from .recipe import RetrievalRecipe
from .retrieval import TwoTowers
from .towers import sequence_tower

PREFIXES = 4
"""Histories that an epoch cuts out of a user's ratings, on average."""


def later_likes(ratings: Ratings) -> Times:
    """Places of the likes that are not their user's first rating: each can be asked for."""
    likes = np.flatnonzero(ratings.stars >= LIKE_STARS)
    later: Times = likes[likes > ratings.offsets[ratings.users[likes]]]
    return later


class SequenceTask:
    """Trains the sequence tower of fitted `TwoTowers`; see `trainer.loop.Task`."""

    def __init__(self, towers: TwoTowers, ratings: Ratings, recipe: RetrievalRecipe) -> None:
        """Add a fresh sequence tower to `towers` and set the optimizer up."""
        self._towers, self._ratings, self._recipe = towers, ratings, recipe
        self._items = tf.constant(towers.item_vectors())
        self._likes = later_likes(ratings)
        self._genres = towers.genres
        self.tower = sequence_tower(
            len(self._items), hidden=recipe.hidden, dim=recipe.embedding_dim, dropout=recipe.dropout
        )
        towers.sequence = self.tower
        self._log_scale = keras.Variable(towers.log_scale, dtype="float32", name="log_scale")
        self.models = (self.tower,)
        self.trainable = [*self.tower.trainable_variables, self._log_scale]
        steps = recipe.sequence_epochs * -(-PREFIXES * len(ratings.user_ids) // recipe.batch_size)
        schedule = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
        self.optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay)
        self.optimizer.exclude_from_weight_decay(var_list=[self._log_scale])

    def batches(self, epoch: int) -> Iterator[tuple[npt.NDArray[np.generic], ...]]:
        """See `trainer.loop.Task.batches`; the arguments of `loss`."""
        rng = np.random.default_rng([self._recipe.seed, epoch, 1])
        count = min(len(self._likes), PREFIXES * len(self._ratings.user_ids))
        asked = rng.choice(self._likes, count, replace=False)
        for first in range(0, count, self._recipe.batch_size):
            yield self._batch(asked[first : first + self._recipe.batch_size])

    def _batch(self, asked: Times) -> tuple[npt.NDArray[np.generic], ...]:
        ratings, size = self._ratings, len(asked)
        begins = ratings.offsets[ratings.users[asked]]
        places = np.concatenate([np.arange(*span) for span in zip(begins, asked, strict=True)])
        known = UserBatch(
            preferences=np.full((size, self._genres), np.nan, dtype=np.float32),
            items=ratings.items[places],
            stars=ratings.stars[places],
            offsets=np.concatenate([[0], np.cumsum(asked - begins)]),
            asks_next=np.ones(size, dtype=np.bool_),
        )
        candidates = np.ones((size, self._items.shape[0]), dtype=np.float32)
        candidates[known.owners, known.items] = 0
        return self._towers.embed_tastes(known), *recent_items(known), candidates, ratings.items[asked]

    def loss(self, *batch: tf.Tensor) -> tf.Tensor:
        """Mean surprise at the next like, of all that is not known yet."""
        tastes, rows, weights, candidates, following = batch
        added = self.tower([rows, weights], training=True)
        users = tf.math.l2_normalize(tf.math.l2_normalize(tastes, axis=1) + added, axis=1)
        logits = tf.exp(self._log_scale.value) * tf.matmul(users, self._items, transpose_b=True)
        chances = masked_log_softmax(logits, candidates)
        return -tf.reduce_mean(tf.gather(chances, following, axis=1, batch_dims=1))
