"""What the order of a history adds to the towers, for users who ask what is next.

Such users are embedded in a wider space than taste needs: next to the taste, moved
by a small network over the latest items, lie the transitions of `markov.py`.
Symbols: `B` users, `N` items, `D` width of the taste, `K` of the transitions.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.features import TRANSITION, recent_items
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.models.markov import Markov


@dataclass(frozen=True, eq=False)
class Order:
    """The part of the towers that reads order."""

    tower: keras.Model
    """`towers.sequence_tower`: what the latest items add to a user's taste."""

    markov: Markov
    """Which item follows which."""

    def embed(self, tastes: Floats, users: UserBatch) -> Floats:
        """[B, D + K] vectors of users with unit `tastes` [B, D]."""
        rows, weights = recent_items(users)
        added = self.tower([tf.constant(rows), tf.constant(weights)], training=False)
        moved = tf.math.l2_normalize(tastes + added, axis=1).numpy()
        follows = np.einsum("bl,blk->bk", weights[:, :, TRANSITION], self.markov.users[rows])
        return np.concatenate([moved, follows], axis=1)

    def items(self, vectors: Floats) -> Floats:
        """[N, D + K] vectors of items whose taste vectors are `vectors` [N, D]."""
        return np.concatenate([vectors, self.markov.items], axis=1)
