"""The last phase of the retrieval recipe: what the moment adds to a taste.

The towers are left as they are. For likes of the training users, what was rated before gives a
taste, and to this a vector is added for the hour, the weekday and the device of the like, so that
the like comes up. Whoever does not say when and on what never meets it. Symbols: `B`
moments, `S` likes that are asked for, `N` items, `M` items that are compared, `C` signals of a
moment, `D` width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from deepmoviematch.data.arrays import Floats, Ints, Longs
from deepmoviematch.data.context import FEATURES, HOURS, UNTOLD, moments_of, table_rows
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.models.adam import Adam
from deepmoviematch.trainer.models.losses import cross_entropy, logit_mask
from deepmoviematch.trainer.models.prefixes import later_likes, prefixes
from deepmoviematch.trainer.models.towers import dense_arrays, moment_tower
from deepmoviematch.trainer.models.two_towers import TwoTowers
from deepmoviematch.trainer.recipe import RetrievalRecipe

HARMONICS = 2
"""Waves that an hour is read by, once and twice a day: five in the morning is near six."""

DEVICE_USERS = 10
"""Of devices that fewer people use there is nothing to learn."""

MOST_DEVICES = 100
MOST_ASKED = 20_000
"""Likes that are learnt from; more are sampled."""

FEWEST_STEPS = 200
"""Few likes are gone through more often than the recipe says, until there are so many steps."""

MOST_ITEMS = 10_000
"""Items that a like is compared with: of more, the most rated ones."""


@dataclass(frozen=True, eq=False)
class Signals:
    """How moments are read: each feature as some numbers that are 0 on average.

    As no feature tells of an average moment, what all moments share is never put down to one.
    """

    means: dict[str, Floats]
    """For each feature that is read the mean of its numbers; in the order of `FEATURES`."""

    devices: tuple[str, ...]
    """What a device's row means."""

    @classmethod
    def of(cls, moments: Ints, features: Sequence[str], devices: tuple[str, ...]) -> "Signals":
        """The signals of some features that are 0 on the average of `moments` [B, 3] that tell them."""
        means = {}
        for name in features:
            rows = moments[:, FEATURES.index(name)]
            told = rows[rows != UNTOLD]  # nobody, where few tell and those few were not sampled
            means[name] = _numbers(name, told, len(devices)).sum(axis=0) / np.float32(max(len(told), 1))
        return cls(means, devices if "device" in features else ())

    @property
    def width(self) -> int:
        """C."""
        return sum(map(len, self.means.values()))

    def of_feature(self, name: str, rows: Ints) -> Floats:
        """The numbers of one feature for `rows` [B] of its table, 0 where it is not told."""
        numbers = _numbers(name, rows, len(self.devices)) - self.means[name]
        return np.where(rows[:, None] == UNTOLD, 0, numbers).astype(np.float32)

    def __call__(self, moments: Ints) -> Floats:
        """[B, C] of `moments` [B, 3]."""
        parts = (self.of_feature(name, moments[:, FEATURES.index(name)]) for name in self.means)
        return np.concatenate([np.zeros((len(moments), 0), dtype=np.float32), *parts], axis=1)


@dataclass(frozen=True, eq=False)
class Moments:
    """The part of the towers that reads moments."""

    tower: keras.Model
    """`towers.moment_tower`: what signals add to a user's taste."""

    signals: Signals

    def moved(self, tastes: Floats, moments: Ints) -> Floats:
        """[B, D] unit vectors of users with unit `tastes` [B, D] who ask at `moments` [B, 3]."""
        added = self.tower(tf.constant(self.signals(moments)), training=False)
        moved: Floats = tf.math.l2_normalize(tastes + added, axis=1).numpy()
        return moved

    def tables(self) -> dict[str, Floats]:
        """For each feature [rows, D] what each of its values adds, by the names that NumPy reads."""
        kernel = dense_arrays(self.tower)["moment"]  # [C, D]
        sizes = table_rows(len(self.signals.devices))
        tables, first = {}, 0
        for name, mean in self.signals.means.items():
            rows = np.arange(sizes[name], dtype=np.int32)
            tables[f"moment_{name}"] = self.signals.of_feature(name, rows) @ kernel[first : first + len(mean)]
            first += len(mean)
        return tables


class MomentTask:
    """Trains a moment tower for fitted `TwoTowers`; see `trainer.models.loop.Task`.

    Beside the signals' weights it learns a vector that is added at every moment, and drops it: it
    takes what the taste alone lacks.
    """

    def __init__(
        self, towers: TwoTowers, ratings: Ratings, features: Sequence[str], recipe: RetrievalRecipe
    ) -> None:
        """Make a fresh moment tower that reads `features`, and set the optimizer up."""
        self._ratings, self._recipe = ratings, recipe
        rng = np.random.default_rng([recipe.seed, 2])
        counts = np.bincount(ratings.items, minlength=len(towers.rated))
        compared = np.sort(np.argsort(-counts, kind="stable")[: min(MOST_ITEMS, int((counts > 0).sum()))])
        self._columns = np.full(len(counts), -1)
        self._columns[compared] = np.arange(len(compared))
        likes = later_likes(ratings)
        likes = likes[self._columns[ratings.items[likes]] >= 0]
        self._asked = np.sort(rng.choice(likes, min(len(likes), MOST_ASKED), replace=False))
        self._tastes = towers.embed_prefixes(ratings, self._asked)  # [S, D]
        self._items = towers.item_vectors()[compared]  # [M, D]

        devices = devices_of(ratings)
        moments = moments_of(ratings, devices)[self._asked]
        self._signals = Signals.of(moments, features, devices)
        self._numbers = self._signals(moments)  # [S, C]
        width = self._tastes.shape[1]
        self.tower = moment_tower(self._signals.width, dim=width)
        self._shared = keras.Variable(np.zeros(width), dtype="float32", name="shared")
        self._log_scale = keras.Variable(towers.log_scale, dtype="float32", name="log_scale")
        self.models = (self.tower,)
        self.trainable = [*self.tower.trainable_variables, self._shared, self._log_scale]
        steps = -(-len(self._asked) // self._batch_size)
        self.epochs = max(recipe.moment_epochs, -(-FEWEST_STEPS // steps))
        """How often the likes are gone through."""
        self.optimizer = Adam(recipe.learning_rate, self.epochs * steps)

    @property
    def _batch_size(self) -> int:
        return 4 * self._recipe.batch_size  # as in `SequenceTask`

    def batches(self, epoch: int) -> Iterator[tuple[npt.NDArray[np.generic], ...]]:
        """See `trainer.models.loop.Task.batches`; the arguments of `loss`."""
        order = np.random.default_rng([self._recipe.seed, epoch, 2]).permutation(len(self._asked))
        for first in range(0, len(order), self._batch_size):
            yield self._batch(np.sort(order[first : first + self._batch_size]))

    def _batch(self, chosen: Longs) -> tuple[npt.NDArray[np.generic], ...]:
        asked = self._asked[chosen]
        known = prefixes(self._ratings, asked)
        seen = np.stack([known.owners, self._columns[known.items]], axis=1).astype(np.int64)
        wanted = self._columns[self._ratings.items[asked]]
        return self._tastes[chosen], self._numbers[chosen], seen[seen[:, 1] >= 0], wanted

    def loss(self, *batch: tf.Tensor) -> tf.Tensor:
        """Mean cross-entropy of the like, of all that is not known yet."""
        tastes, numbers, seen, wanted = batch
        users = tf.math.l2_normalize(tastes + self._shared.value + self.tower(numbers, training=True), axis=1)
        logits = tf.matmul(tf.exp(self._log_scale.value) * users, self._items, transpose_b=True)
        logits += logit_mask(tf.zeros(len(self._items)), seen, tf.shape(users)[0])
        return tf.reduce_mean(cross_entropy(logits, wanted))

    def moments(self) -> Moments:
        """The fitted part."""
        return Moments(self.tower, self._signals)


def devices_of(ratings: Ratings) -> tuple[str, ...]:
    """The devices that enough people use, the most used ones at most, in alphabetical order."""
    if ratings.devices is None:
        return ()
    told = ratings.devices != UNTOLD
    pairs = np.unique(np.stack([ratings.devices[told], ratings.users[told]]), axis=1)
    users = np.bincount(pairs[0], minlength=len(ratings.device_names))
    chosen = np.argsort(-users, kind="stable")[:MOST_DEVICES]
    return tuple(sorted(ratings.device_names[row] for row in chosen if users[row] >= DEVICE_USERS))


def features_of(ratings: Ratings) -> tuple[str, ...]:
    """The features of which the likes that can be asked for show two values at least."""
    moments = moments_of(ratings, devices_of(ratings))[later_likes(ratings)]
    values = (np.unique(column[column != UNTOLD]) for column in moments.T)
    return tuple(name for name, found in zip(FEATURES, values, strict=True) if len(found) > 1)


def _numbers(name: str, rows: Ints, devices: int) -> Floats:
    """[B, .] what `rows` [B] of a feature look like before they are centred."""
    if name == "hour":
        angles = 2 * np.pi / HOURS * rows[:, None] * np.arange(1, HARMONICS + 1)
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    chosen: Floats = np.equal(rows[:, None], np.arange(table_rows(devices)[name])).astype(np.float32)
    return chosen
