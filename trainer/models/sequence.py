"""The second phase of the retrieval recipe: what the order of a history adds.

The towers are left as they are. A sequence tower learns what to add to a user's
taste so that the next like comes up; whoever does not ask what is next never meets
it, so that one question is not answered at the other's cost. Symbols: `B`
users, `N` items, `D` width, `C` items of a step, `L` latest interactions.
"""

from collections.abc import Iterator

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from deepmoviematch.data.arrays import Longs
from deepmoviematch.data.features import LIKE_STARS, recent_items
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.models.adam import Adam
from deepmoviematch.trainer.models.candidates import Candidates, columns_of
from deepmoviematch.trainer.models.losses import cross_entropy, logit_mask
from deepmoviematch.trainer.models.markov import Markov
from deepmoviematch.trainer.models.order import Order
from deepmoviematch.trainer.models.prefixes import later_likes, prefixes
from deepmoviematch.trainer.models.towers import sequence_tower
from deepmoviematch.trainer.models.two_towers import TwoTowers
from deepmoviematch.trainer.recipe import RetrievalRecipe

PREFIXES = 20
"""Histories that an epoch cuts out of a user's ratings, on average."""

MOST_ASKED = 65_536
"""Histories that an epoch takes at most."""

DRAWN = 1000
"""Items that a step draws beside those that it asks for, each by one history, unless the recipe says."""

MOST_NUMBERS = 2**22
"""In a table of transitions, whose width shrinks with the catalogue: 256 for up to 16,384 items."""

SAMPLE = 1000
"""Prefixes that the scales of both parts are compared on."""


class SequenceTask:
    """Trains the sequence tower of fitted `TwoTowers`; see `trainer.models.loop.Task`."""

    def __init__(self, towers: TwoTowers, ratings: Ratings, recipe: RetrievalRecipe) -> None:
        """Make a fresh sequence tower for `towers` and set the optimizer up.

        It starts to read the latest items by where they lie among tastes.
        The tastes that it adds to are embedded once: of every history that the epochs can
        reach, and so never of more than `MOST_ASKED` for each epoch.
        """
        self._towers, self._ratings, self._recipe = towers, ratings, recipe
        self._items = towers.item_vectors()
        self._candidates = Candidates(
            np.bincount(ratings.items[ratings.stars >= LIKE_STARS], minlength=len(self._items)),
            towers.rated,
            recipe.softmax_items or DRAWN,
        )
        self._likes = later_likes(ratings)
        self.tower = sequence_tower(
            len(self._items), hidden=recipe.hidden, dim=self._items.shape[1], dropout=recipe.dropout
        )
        self.tower.get_layer("recent").set_weights([tf.math.l2_normalize(self._items, axis=1)])
        self._log_scale = keras.Variable(towers.log_scale, dtype="float32", name="log_scale")
        self.models = (self.tower,)
        self.trainable = [*self.tower.trainable_variables, self._log_scale]
        self._asked = min(len(self._likes), PREFIXES * len(ratings.user_ids), MOST_ASKED)
        reached = recipe.sequence_epochs * self._asked
        if len(self._likes) > reached:
            rng = np.random.default_rng([recipe.seed, 2])
            self._likes = np.sort(rng.choice(self._likes, reached, replace=False))
        self.tastes = towers.embed_prefixes(ratings, self._likes)
        """[P, D] what the sequence tower adds to, embedded once as the towers stay as they are."""
        steps = recipe.sequence_epochs * -(-self._asked // self._batch_size)
        self.optimizer = Adam(recipe.learning_rate, steps)

    @property
    def _batch_size(self) -> int:
        return 4 * self._recipe.batch_size  # one view of a user, where the first phase takes three

    def batches(self, epoch: int) -> Iterator[tuple[npt.NDArray[np.generic], ...]]:
        """See `trainer.models.loop.Task.batches`; the arguments of `loss`."""
        rng = np.random.default_rng([self._recipe.seed, epoch, 1])
        chosen = rng.choice(len(self._likes), self._asked, replace=False)
        for first in range(0, len(chosen), self._batch_size):
            yield self._batch(chosen[first : first + self._batch_size], rng)

    def _batch(self, chosen: Longs, rng: np.random.Generator) -> tuple[npt.NDArray[np.generic], ...]:
        asked = self._likes[chosen]
        known = prefixes(self._ratings, asked)
        following = self._ratings.items[asked]
        candidates, correction = self._candidates.draw(np.unique(following), rng)
        there, seen = columns_of(known.items, candidates)
        return (
            self.tastes[chosen],
            *recent_items(known),
            candidates,
            correction,
            np.column_stack([known.owners[there], seen]),
            columns_of(following, candidates)[1],
        )

    def loss(self, *batch: tf.Tensor) -> tf.Tensor:
        """Mean cross-entropy of the next like, of all that is not known yet."""
        tastes, rows, weights, candidates, correction, seen, following = batch
        users = tf.math.l2_normalize(tastes + self.tower([rows, weights], training=True), axis=1)
        items = tf.gather(self._items, candidates)  # [C, D]
        logits = tf.matmul(tf.exp(self._log_scale.value) * users, items, transpose_b=True)
        logits += logit_mask(correction, seen, tf.shape(users)[0])
        return tf.reduce_mean(cross_entropy(logits, following))

    def order(self) -> Order:
        """The fitted part, its transitions weighted as the recipe says."""
        recipe = self._recipe
        markov = Markov.fit(
            self._ratings,
            len(self._items),
            penalty=recipe.transition_penalty,
            width=min(recipe.transition_dim, max(1, MOST_NUMBERS // len(self._items))),
            seed=recipe.seed,
        )
        order = Order(self.tower, markov)
        rng = np.random.default_rng(recipe.seed)
        sample = rng.choice(len(self._likes), min(SAMPLE, len(self._likes)), replace=False)
        users = prefixes(self._ratings, self._likes[sample])
        embedded, width = order.embed(self.tastes[sample], users), self._items.shape[1]
        ours, theirs = (
            float((left @ right.T).std())
            for left, right in ((embedded[:, :width], self._items), (embedded[:, width:], markov.items))
        )
        return Order(self.tower, markov.scaled(recipe.transition_weight * ours / (theirs or 1.0)))
