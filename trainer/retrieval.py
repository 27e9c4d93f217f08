"""The retrieval recipe: towers that rank the catalogue for a history or stated preferences.

In a step, every user of the batch is asked for three times (`views.py`): with a
long history, with a short one, and with stated preferences alone. Each time is a
softmax over the catalogue without what is known; where there is a history it also
follows a teacher, the closed-form EASE, from whose factors the towers start.
Symbols: `B` users of a batch, `U` users, `N` items, `G` genres, `D` width.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from deepmoviematch.data.features import (
    LIKE_STARS,
    UserBatch,
    content_features,
    preference_gate,
    preference_signal,
    year_knots,
    year_statistics,
)
from deepmoviematch.data.tables import TOP_STARS, Catalogue, Flags, Floats, Ints, Ratings, Times
from deepmoviematch.data.weights import Weights

from .content import ContentRegression
from .ease import Ease, like_matrix
from .errors import TrainingError
from .losses import NEVER, distillation_loss, masked_log_softmax, softmax_loss, target_counts
from .order import Order
from .recipe import RetrievalRecipe
from .towers import READ, dense_arrays, identity_item_tower, taste_user_tower
from .views import (
    RatedBy,
    base_shares,
    genre_shares,
    history_view,
    sample_preferences,
    short_view,
    stated_view,
)

Inputs: TypeAlias = tuple[npt.NDArray[np.generic], ...]
"""What `TwoTowers.user_inputs` makes."""


class TwoTowers:
    """The pair of Keras towers of the retrieval recipe, with what feeds them."""

    def __init__(self, catalogue: Catalogue, recipe: RetrievalRecipe) -> None:
        """Build towers with fresh weights for a catalogue."""
        self._gate = recipe.gate
        self.genres = len(catalogue.genre_names)
        self.log_scale = 0.0
        """Logarithm of what multiplies the products of unit users and items in the softmax."""
        self._year = year_statistics(catalogue)
        self._knots = year_knots(catalogue)
        self._content = content_features(catalogue, *self._year, self._knots)  # [N, F]
        self.counts = np.ones(len(catalogue), dtype=np.int64)
        """[N] ratings of each item: where there are none, content has to stand in for what was learnt."""
        self.user = taste_user_tower(
            len(catalogue),
            len(catalogue.genre_names),
            hidden=recipe.hidden,
            dim=recipe.embedding_dim,
            dropout=recipe.dropout,
        )
        self.head: keras.Model = self.user.get_layer("head")
        """The user tower without its tables."""
        self.order: Order | None = None
        """Reads the order of histories, where the data have times (`sequence.py`)."""
        self.item = identity_item_tower(
            len(catalogue),
            dim=recipe.embedding_dim,
        )

    def user_inputs(self, likes: sparse.csr_matrix, others: sparse.csr_matrix, preferences: Floats) -> Inputs:
        """What the user tower takes, as arrays for `embed_features`.

        Args:
            likes: [B, N] 1 where an item of the history is liked.
            others: [B, N] 1 where an item of the history is not.
            preferences: [B, G] stars, NaN where unknown.
        """
        counts = np.stack([likes.getnnz(axis=1), others.getnnz(axis=1)], axis=1)  # [B, 2]
        stated: Flags = np.isfinite(preferences).max(axis=1, initial=False)
        gate = preference_gate(stated, counts.sum(axis=1).astype(np.int64), self._gate)
        norms = (1 / np.sqrt(np.maximum(counts, 1))).astype(np.float32)
        liked, disliked = cells(likes), cells(others)
        return (
            liked,
            norms[liked[:, 0], 0],
            disliked,
            norms[disliked[:, 0], 1],
            preference_signal(preferences),
            np.log1p(counts).astype(np.float32),
            gate[:, None],
        )

    def embed_features(self, inputs: Sequence[tf.Tensor], *, training: bool) -> tf.Tensor:
        """[B, D] vectors of users whom `user_inputs` described, not yet of unit length."""
        liked, like_values, disliked, other_values, *rest = inputs
        bags = [
            _bags(self.user.get_layer(name).kernel.value, cells, values, tf.shape(rest[0])[0])
            for name, cells, values in (
                ("likes", liked, like_values),
                ("others", disliked, other_values),
            )
        ]
        return self.head([*bags, *rest], training=training)

    def embed_items(self) -> tf.Tensor:
        """[N, D] vectors of the catalogue as they were learnt; their length carries popularity."""
        return self.item(tf.range(len(self._content)))

    def embed_tastes(self, users: UserBatch) -> Floats:
        """[B, D] vectors of users, whatever the order of their histories."""
        liked = users.stars >= LIKE_STARS
        likes, others = (self._histories(users, chosen) for chosen in (liked, ~liked))
        inputs = map(tf.constant, self.user_inputs(likes, others, users.preferences))
        vectors: Floats = self.embed_features(list(inputs), training=False).numpy()
        return vectors

    def _histories(self, users: UserBatch, chosen: Flags) -> sparse.csr_matrix:
        """[B, N] 1 for the interactions that are chosen."""
        return marked(users.owners[chosen], users.items[chosen], (len(users), len(self._content)))

    def embed_users(self, users: UserBatch) -> Floats:
        """[B, D] unit vectors of users, whatever the order of their histories."""
        vectors: Floats = tf.math.l2_normalize(self.embed_tastes(users), axis=1).numpy()
        return vectors

    def score(self, users: UserBatch) -> Floats:
        """[B, N] scores of the whole catalogue for each user."""
        vectors, items = self.embed_users(users), self.item_vectors()
        if self.order is None or not users.asks_next.any():
            return vectors @ items.T
        following = self.order.embed(vectors, users) @ self.order.items(items).T
        return np.where(users.asks_next[:, None], following, vectors @ items.T)

    def item_vectors(self) -> Floats:
        """[N, D] vectors of the catalogue, whose length carries popularity."""
        return np.where(self.rated[:, None], self.embed_items().numpy(), self._regression()(self._content))

    @property
    def rated(self) -> Flags:
        """[N] whether anyone rated the item."""
        return self.counts > 0

    def _regression(self) -> ContentRegression:
        return ContentRegression.fit(self._content, self.embed_items().numpy(), self.counts)

    def export(self) -> tuple[Weights, Weights]:
        """The user tower and the item tower for NumPy (`indexer/towers.py`)."""
        vectors = self.item_vectors()
        mean, scale = self._year
        settings = {
            "kind": "identity",
            "year_mean": mean,
            "year_scale": scale,
            "largest_norm": _largest_norm(vectors),
        }
        regression = self._regression()
        items = {
            "ids": (vectors - regression(self._content)) * self.rated[:, None],
            "content_0_kernel": regression.kernel,
            "content_0_bias": regression.bias,
            "year_knots": self._knots,
        }
        users = dense_arrays(self.user) | dense_arrays(self.head)
        users["deep_0_kernel"][: 2 * vectors.shape[1]] *= READ
        if self.order is not None:
            users |= dense_arrays(self.order.tower) | {"transitions": self.order.markov.users}
            items["follows"] = self.order.markov.items
            settings["next_largest_norm"] = _largest_norm(self.order.items(vectors))
        return Weights({"kind": "taste", "gate": self._gate}, users), Weights(settings, items)


class RetrievalTask:
    """Trains `TwoTowers` on ratings; see `trainer.loop.Task`."""

    def __init__(
        self, towers: TwoTowers, catalogue: Catalogue, ratings: Ratings, recipe: RetrievalRecipe
    ) -> None:
        """Start the towers from EASE's factors and set the optimizer up."""
        self._towers, self._recipe = towers, recipe
        self._likes = like_matrix(ratings, len(catalogue), threshold=LIKE_STARS)  # [U, N]
        self._items = len(catalogue)
        self._stars = sparse.csr_matrix(
            (ratings.stars, (ratings.users, ratings.items)), shape=self._likes.shape, dtype=np.float32
        )
        self._users = np.flatnonzero(self._likes.getnnz(axis=1))
        if len(self._users) == 0:
            raise TrainingError(
                f"training needs likes, ratings of {LIKE_STARS:g} of {TOP_STARS:g} stars or more, "
                f"got none among {len(ratings)} ratings of {ratings.scale.low:g} to {ratings.scale.top:g}"
            )
        self._shares = genre_shares(self._likes, catalogue.genres)  # [U, G]
        self._base = base_shares(self._shares, self._likes)
        towers.counts = np.bincount(ratings.items, minlength=len(catalogue))
        self.teacher = Ease.fit(self._likes, recipe.ease_penalty)
        scale = self._start()

        self._log_scale = keras.Variable(np.log(scale), dtype="float32", name="log_scale")
        self.models = (towers.head, towers.item)
        self.trainable = [
            *towers.user.trainable_variables,
            *towers.item.trainable_variables,
            self._log_scale,
        ]
        steps = recipe.epochs * -(-len(self._users) // recipe.batch_size)
        schedule = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
        self.optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay)
        self.optimizer.exclude_from_weight_decay(var_list=[self._log_scale])

    def _start(self) -> float:
        """Let the linear part of the towers rebuild EASE and return the scale of the logits that fits.

        With Q the first right singular vectors of X B, the ids are 3 Q and the user's
        table is 20 B Q, so that a bag's product with the items is about 60 X B Q Q^T.
        The scale is one over the temperature.
        """
        teacher, recipe = self.teacher, self._recipe
        rebuilt = self._likes[self._users][:, teacher.items] @ teacher.weights  # [U, M]
        rank = min(recipe.embedding_dim, *rebuilt.shape)
        ids = np.zeros((self._likes.shape[1], recipe.embedding_dim), dtype=np.float32)
        likes = np.zeros_like(ids)
        factors = randomized_svd(rebuilt, rank, random_state=recipe.seed)[2].T  # [M, rank]
        ids[teacher.items, :rank] = 3 * factors
        likes[teacher.items, :rank] = 20 * (teacher.weights @ factors)
        self._towers.item.get_layer("ids").set_weights([ids])
        self._towers.user.get_layer("likes").set_weights([likes])
        bags = self._likes[self._users] @ likes
        lengths = np.linalg.norm(bags, axis=1) / np.sqrt(self._likes[self._users].getnnz(axis=1))
        return float(np.median(lengths)) if lengths.any() else 1.0

    @property
    def log_scale(self) -> float:
        """What the softmax learnt to multiply products with, as a logarithm."""
        return float(self._log_scale.numpy())

    def batches(self, epoch: int) -> Iterator[tuple[npt.NDArray[np.float32], ...]]:
        """See `trainer.loop.Task.batches`; the arguments of `loss`."""
        rng = np.random.default_rng([self._recipe.seed, epoch])
        users = rng.permutation(self._users)
        for first in range(0, len(users), self._recipe.batch_size):
            yield self._batch(users[first : first + self._recipe.batch_size], rng)

    def _batch(self, users: npt.NDArray[np.int64], rng: np.random.Generator) -> tuple[Floats, ...]:
        recipe, rated = self._recipe, self._rated_by(users)
        stated = sample_preferences(self._shares[users], self._base, rng)
        views = [
            (history_view(rated, stated, recipe.history_share, rng), 1.0),
            (short_view(rated, stated, rng), recipe.short_weight),
            (stated_view(rated, stated), recipe.stated_weight),
        ]
        rows = np.concatenate([place * rated.size + rated.owners for place in range(len(views))])
        columns = np.tile(rated.items, len(views))
        likes, others, targets = (
            marked(rows[flags], columns[flags], (len(views) * rated.size, self._items))
            for flags in map(
                np.concatenate,
                zip(*((view.likes, view.others, view.targets) for view, _ in views), strict=True),
            )
        )
        preferences = np.concatenate([view.preferences for view, _ in views])
        shares = [
            weight / max(np.sqrt(np.bincount(rated.owners[view.targets])).sum(), 1.0)
            for view, weight in views
        ]
        taught = likes[: 2 * rated.size]  # there is nothing to teach where no history is known
        return (
            *self._towers.user_inputs(likes, others, preferences),
            cells(targets),
            self.teacher.score(taught),
            (recipe.distillation * (likes.getnnz(axis=1) > 0)).astype(np.float32),
            np.repeat(shares, rated.size).astype(np.float32),
        )

    def _rated_by(self, users: npt.NDArray[np.int64]) -> RatedBy:
        rated = self._stars[users]
        owners = np.repeat(np.arange(len(users)), rated.getnnz(axis=1))
        return RatedBy(owners, rated.indices, rated.data >= LIKE_STARS, len(users))

    def loss(self, *batch: tf.Tensor) -> tf.Tensor:
        """Mix of the softmax over held-out likes and the teacher's, over all three views."""
        *inputs, targets, teacher, followed, weights = batch
        users = tf.math.l2_normalize(self._towers.embed_features(inputs, training=True), axis=1)  # [3 B, D]
        items = self._towers.embed_items()  # [N, D]
        unrated = NEVER * tf.constant(~self._towers.rated, tf.float32)  # [N]; nobody can like them here
        logits = tf.exp(self._log_scale.value) * tf.matmul(users, items, transpose_b=True) + unrated
        known = tf.concat([inputs[0], inputs[2]], axis=0)
        chances = masked_log_softmax(logits, known)
        learnt = softmax_loss(chances, targets)
        size = tf.shape(teacher)[0]
        with_history = known[:, 0] < tf.cast(size, tf.int64)
        taught = tf.exp(
            masked_log_softmax(teacher / self._recipe.teacher_temperature + unrated, known[with_history])
        )
        copied = distillation_loss(chances[:size], taught, target_counts(targets, tf.shape(users)[0])[:size])
        return tf.reduce_sum(weights * (1 - followed) * learnt) + tf.reduce_sum(
            (weights * followed)[:size] * copied
        )


def _largest_norm(vectors: Floats) -> float:
    return float(np.linalg.norm(vectors, axis=1).max()) or 1.0


def _bags(table: tf.Tensor, rated: tf.Tensor, values: tf.Tensor, users: tf.Tensor) -> tf.Tensor:
    """[B, D] sums of the rows of `table` [N, D] that users rated, given as `cells` and their values.

    What Keras makes of a sparse input differs in the last bits from run to run.
    """
    rows = values[:, None] * tf.gather(table, rated[:, 1])
    return tf.math.unsorted_segment_sum(rows, rated[:, 0], users)


def marked(rows: npt.NDArray[np.integer], columns: Ints, shape: tuple[int, int]) -> sparse.csr_matrix:
    """A float32 matrix with 1 in the cells given."""
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)


def cells(matrix: sparse.csr_matrix) -> Times:
    """[nnz, 2] row and column of what is stored, in order."""
    matrix.sort_indices()
    rows = np.repeat(np.arange(matrix.shape[0]), matrix.getnnz(axis=1))
    return np.stack([rows, matrix.indices], axis=1).astype(np.int64)
