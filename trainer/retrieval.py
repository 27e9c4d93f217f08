"""The retrieval recipe: towers that rank the catalogue for a history or stated preferences.

In a step, every user of the batch is asked for three times (`views.py`): with a
long history, with a short one, and with stated preferences alone. Each time is a
softmax over the catalogue without what is known; where there is a history it also
follows a teacher, the closed-form EASE, from whose factors the towers start.
Symbols: `B` users of a batch, `U` users, `N` items, `G` genres, `D` width.
"""

from collections.abc import Iterator

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
    recent_items,
    year_statistics,
)
from deepmoviematch.data.tables import TOP_STARS, Catalogue, Flags, Floats, Ratings
from deepmoviematch.data.weights import Weights

from .ease import Ease, like_matrix
from .errors import TrainingError
from .losses import distillation_loss, masked_log_softmax, softmax_loss
from .recipe import RetrievalRecipe
from .towers import dense_arrays, identity_item_tower, taste_user_tower
from .views import base_shares, genre_shares, history_view, sample_preferences, short_view, stated_view


class TwoTowers:
    """The pair of Keras towers of the retrieval recipe, with what feeds them."""

    def __init__(self, catalogue: Catalogue, recipe: RetrievalRecipe) -> None:
        """Build towers with fresh weights for a catalogue."""
        self._gate = recipe.gate
        self.genres = len(catalogue.genre_names)
        self.log_scale = 0.0
        """Logarithm of what multiplies the products of unit users and items in the softmax."""
        self._year = year_statistics(catalogue)
        self._content = content_features(catalogue, *self._year)  # [N, 2 + G]
        self.has_id = np.ones(len(catalogue), dtype=np.float32)
        """[N] 0 for items that nobody rated: their ids learnt nothing."""
        self.user = taste_user_tower(
            len(catalogue),
            len(catalogue.genre_names),
            hidden=recipe.hidden,
            dim=recipe.embedding_dim,
            dropout=recipe.dropout,
        )
        self.sequence: keras.Model | None = None
        """Reads the order of histories, where the data have times (`sequence.py`)."""
        self.item = identity_item_tower(
            len(catalogue),
            self._content.shape[1],
            hidden=recipe.hidden,
            dim=recipe.embedding_dim,
            dropout=recipe.dropout,
        )

    def user_inputs(self, likes: Floats, others: Floats, preferences: Floats) -> list[Floats]:
        """What the user tower takes.

        Args:
            likes: [B, N] 1 where an item of the history is liked.
            others: [B, N] 1 where an item of the history is not.
            preferences: [B, G] stars, NaN where unknown.
        """
        counts = np.stack([likes.sum(axis=1), others.sum(axis=1)], axis=1)  # [B, 2]
        stated: Flags = np.isfinite(preferences).max(axis=1, initial=False)
        gate = preference_gate(stated, counts.sum(axis=1).astype(np.int64), self._gate)
        norms = np.sqrt(np.maximum(counts, 1)).astype(np.float32)
        return [
            likes / norms[:, :1],
            others / norms[:, 1:],
            preference_signal(preferences),
            np.log1p(counts).astype(np.float32),
            gate[:, None],
        ]

    def embed_items(self, use_id: tf.Tensor, *, training: bool) -> tf.Tensor:
        """[N, D] vectors of the catalogue, whose length carries popularity; `use_id` is [N]."""
        rows = tf.range(len(self._content))
        inputs = [rows, tf.convert_to_tensor(use_id)[:, None], tf.constant(self._content)]
        return self.item(inputs, training=training)

    def embed_tastes(self, users: UserBatch) -> Floats:
        """[B, D] vectors of users, whatever the order of their histories."""
        rated = np.zeros((2, len(users), len(self._content)), dtype=np.float32)
        rated[(users.stars < LIKE_STARS).astype(int), users.owners, users.items] = 1
        inputs = [tf.constant(part) for part in self.user_inputs(rated[0], rated[1], users.preferences)]
        vectors: Floats = self.user(inputs, training=False).numpy()
        return vectors

    def embed_users(self, users: UserBatch) -> Floats:
        """[B, D] unit vectors of users."""
        vectors = tf.math.l2_normalize(self.embed_tastes(users), axis=1)
        if self.sequence is not None:
            added = self.sequence([tf.constant(part) for part in recent_items(users)], training=False)
            following = tf.math.l2_normalize(vectors + added, axis=1)
            vectors = tf.where(users.asks_next[:, None], following, vectors)
        embedded: Floats = vectors.numpy()
        return embedded

    def score(self, users: UserBatch) -> Floats:
        """[B, N] scores of the whole catalogue for each user."""
        return self.embed_users(users) @ self.item_vectors().T

    def item_vectors(self) -> Floats:
        """[N, D] vectors of the catalogue, whose length carries popularity."""
        vectors: Floats = self.embed_items(self.has_id, training=False).numpy()
        return vectors

    def export(self) -> tuple[Weights, Weights]:
        """The user tower and the item tower for NumPy (`indexer/towers.py`)."""
        vectors = self.item_vectors()
        mean, scale = self._year
        settings = {
            "kind": "identity",
            "year_mean": mean,
            "year_scale": scale,
            "largest_norm": float(np.linalg.norm(vectors, axis=1).max()) or 1.0,
        }
        items = dense_arrays(self.item)
        items["ids"] = items["ids"] * self.has_id[:, None]
        users = dense_arrays(self.user)
        if self.sequence is not None:
            users |= dense_arrays(self.sequence)
        return Weights({"kind": "taste", "gate": self._gate}, users), Weights(settings, items)


class RetrievalTask:
    """Trains `TwoTowers` on ratings; see `trainer.loop.Task`."""

    def __init__(
        self, towers: TwoTowers, catalogue: Catalogue, ratings: Ratings, recipe: RetrievalRecipe
    ) -> None:
        """Start the towers from EASE's factors and set the optimizer up."""
        self._towers, self._recipe = towers, recipe
        self._likes = like_matrix(ratings, len(catalogue), threshold=LIKE_STARS)  # [U, N]
        self._rated = like_matrix(ratings, len(catalogue), threshold=-np.inf)
        self._users = np.flatnonzero(self._likes.getnnz(axis=1))
        if len(self._users) == 0:
            raise TrainingError(
                f"training needs likes, ratings of {LIKE_STARS:g} of {TOP_STARS:g} stars or more, "
                f"got none among {len(ratings)} ratings of {ratings.scale.low:g} to {ratings.scale.top:g}"
            )
        self._shares = genre_shares(self._likes, catalogue.genres)  # [U, G]
        self._base = base_shares(self._shares, self._likes)
        towers.has_id = (np.bincount(ratings.items, minlength=len(catalogue)) > 0).astype(np.float32)
        self.teacher = Ease.fit(self._likes, recipe.ease_penalty)
        scale = self._start()

        self._log_scale = keras.Variable(np.log(scale), dtype="float32", name="log_scale")
        self.models = (towers.user, towers.item)
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
        recipe = self._recipe
        likes, rated = self._likes[users].toarray(), self._rated[users].toarray()
        stated = sample_preferences(self._shares[users], self._base, rng)
        views = [
            (history_view(likes, rated, stated, recipe.history_share, rng), 1.0),
            (short_view(likes, stated, rng), recipe.short_weight),
            (stated_view(likes, stated), recipe.stated_weight),
        ]
        kept = np.concatenate([view.likes for view, _ in views])
        others = np.concatenate([view.others for view, _ in views])
        preferences = np.concatenate([view.preferences for view, _ in views])
        targets = np.concatenate([view.targets for view, _ in views])
        weights = [
            np.full(len(users), weight / max(np.sqrt(view.targets.sum(axis=1)).sum(), 1.0), dtype=np.float32)
            for view, weight in views
        ]
        keeps_id = rng.random(len(self._towers.has_id)) >= recipe.id_dropout
        return (
            *self._towers.user_inputs(kept, others, preferences),
            1 - kept - others,
            targets,
            self.teacher.score(sparse.csr_matrix(kept)),
            (recipe.distillation * (kept.sum(axis=1) > 0)).astype(np.float32),
            np.concatenate(weights),
            (self._towers.has_id * keeps_id).astype(np.float32),
        )

    def loss(self, *batch: tf.Tensor) -> tf.Tensor:
        """Mix of the softmax over held-out likes and the teacher's, over all three views."""
        *inputs, candidates, targets, teacher, followed, weights, use_id = batch
        users = tf.math.l2_normalize(self._towers.user(inputs, training=True), axis=1)  # [3 B, D]
        items = self._towers.embed_items(use_id, training=True)  # [N, D]
        logits = tf.exp(self._log_scale.value) * tf.matmul(users, items, transpose_b=True)
        chances = masked_log_softmax(logits, candidates)
        taught = tf.exp(masked_log_softmax(teacher / self._recipe.teacher_temperature, candidates))
        learnt = (1 - followed) * softmax_loss(chances, targets)
        copied = followed * distillation_loss(chances, taught, targets)
        return tf.reduce_sum(weights * (learnt + copied))
