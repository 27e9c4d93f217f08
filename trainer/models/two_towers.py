"""The two towers of the retrieval recipe, and what feeds them.

Symbols: `B` users, `N` items, `F` content features, `D` width.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy import sparse

from deepmoviematch.data.arrays import Flags, Floats, Longs
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.features import (
    LIKE_STARS,
    content_features,
    preference_gate,
    preference_signal,
    tells_likes_alone,
    year_knots,
    year_statistics,
)
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.data.weights import Weights
from deepmoviematch.trainer.likes import marked
from deepmoviematch.trainer.models.agreement import agreement_of
from deepmoviematch.trainer.models.content import ContentRegression, likeness
from deepmoviematch.trainer.models.order import Order
from deepmoviematch.trainer.models.towers import (
    READ,
    TABLES,
    dense_arrays,
    identity_item_tower,
    taste_user_tower,
)
from deepmoviematch.trainer.recipe import RetrievalRecipe

if TYPE_CHECKING:
    from deepmoviematch.trainer.models.moments import Moments


class UserInputs(NamedTuple):
    """What `TwoTowers.embed_features` takes: arrays, or tensors of the same shapes.

    The items of each bag are told as [., 2] int64 cells of user and item, each with the 1 over the root of
    the bag's size that makes it as long as a unit vector.
    """

    likes: Longs
    """[., 2] of users who told other ratings too, or few likes."""

    likes_norms: Floats
    """[.]"""

    alone: Longs
    """[., 2] likes of users who told nothing else."""

    alone_norms: Floats
    """[.]"""

    others: Longs
    """[., 2] ratings that are no likes."""

    others_norms: Floats
    """[.]"""

    signal: Floats
    """[B, max(G, 1)] of the stated preferences."""

    counts: Floats
    """[B, 2] logarithms of one more than the number of likes and of other ratings."""

    gate: Floats
    """[B, 1] share of the stated preferences."""


BLOCK = 16_384
"""Ratings whose running sums are laid out at once."""

MOST_AGREEING, AT_ONCE = 16_384, 1024
"""Users who say on what they agree, at most, and how many of them are embedded at once."""


class TwoTowers:
    """The pair of Keras towers of the retrieval recipe, with what feeds them."""

    def __init__(self, catalogue: Catalogue, counts: Longs, recipe: RetrievalRecipe) -> None:
        """Build towers with fresh weights.

        Args:
            catalogue: N items.
            counts: [N] ratings of each item, one of them at least above 0: where there are
                none, content has to stand in for what was learnt.
            recipe: Settled (`trainer/settled.py`): widths of layers, dropout, how stated preferences fade.
        """
        self.recipe = recipe
        """What they are made by, settled."""
        self.genres = len(catalogue.genre_names)
        self.log_scale = 0.0
        """Logarithm of what multiplies the products of unit users and items in the softmax."""
        self._year = year_statistics(catalogue)
        self._knots = year_knots(catalogue)
        self._content = content_features(catalogue, *self._year, self._knots)  # [N, F]
        features = np.concatenate([self._content, likeness(self._content)], axis=1)
        self._regression = ContentRegression(features, counts)
        self._placed = np.empty(0, np.float32), np.empty(0, np.float32)
        """The latest vectors as learnt, and with the unrated placed: a ranking asks again and again."""
        self.rated: Flags = counts > 0
        """[N] whether anyone rated the item."""
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
        self.agreement: Floats = np.eye(recipe.embedding_dim, dtype=np.float32)
        """[D, D] on what users agree (`agreement.py`); the identity until that is known."""
        self.moments: Moments | None = None
        """Reads the moment at which a user asks, where the data could teach that (`moments.py`)."""
        self.item = identity_item_tower(
            len(catalogue),
            dim=recipe.embedding_dim,
        )

    def user_inputs(
        self, likes: sparse.csr_matrix, others: sparse.csr_matrix, preferences: Floats
    ) -> UserInputs:
        """What the user tower takes, as arrays for `embed_features`.

        Args:
            likes: [B, N] 1 where an item of the history is liked.
            others: [B, N] 1 where an item of the history is not.
            preferences: [B, G] stars, NaN where unknown.
        """
        counts = np.stack([likes.getnnz(axis=1), others.getnnz(axis=1)], axis=1)  # [B, 2]
        norms = (1 / np.sqrt(np.maximum(counts, 1))).astype(np.float32)
        liked, disliked = cells(likes), cells(others)
        tells_no_more = tells_likes_alone(*counts.T)[liked[:, 0]]
        beside, alone = liked[~tells_no_more], liked[tells_no_more]
        signal, logarithms, gate = self._beside_bags(counts.astype(np.int64), preferences)
        return UserInputs(
            likes=beside,
            likes_norms=norms[beside[:, 0], 0],
            alone=alone,
            alone_norms=norms[alone[:, 0], 0],
            others=disliked,
            others_norms=norms[disliked[:, 0], 1],
            signal=signal,
            counts=logarithms,
            gate=gate,
        )

    def _beside_bags(self, counts: Longs, preferences: Floats) -> tuple[Floats, Floats, Floats]:
        """What the head takes beside the bags of users with `counts` [B, 2] likes and other ratings."""
        stated: Flags = np.isfinite(preferences).max(axis=1, initial=False)
        gate = preference_gate(stated, counts.sum(axis=1), self.recipe.gate)
        return preference_signal(preferences), np.log1p(counts).astype(np.float32), gate[:, None]

    def embed_features(self, users: UserInputs, *, training: bool) -> tf.Tensor:
        """[B, D] vectors of users whom `user_inputs` described, not yet of unit length."""
        told = (
            (users.likes, users.likes_norms),
            (users.alone, users.alone_norms),
            (users.others, users.others_norms),
        )
        likes, alone, others = (
            _bags(self.user.get_layer(name).kernel.value, *bag, tf.shape(users.counts)[0])
            for name, bag in zip(TABLES, told, strict=True)
        )
        return self.head([likes + alone, others, users.signal, users.counts, users.gate], training=training)

    def embed_items(self, rows: tf.Tensor) -> tf.Tensor:
        """[C, D] vectors of `rows` [C] of the catalogue as they were learnt; length carries popularity."""
        return self.item(rows)

    def embed_tastes(self, users: UserBatch) -> Floats:
        """[B, D] vectors of users, whatever the order of their histories."""
        liked = users.stars >= LIKE_STARS
        likes, others = (self._histories(users, chosen) for chosen in (liked, ~liked))
        inputs = UserInputs(*map(tf.constant, self.user_inputs(likes, others, users.preferences)))
        vectors: Floats = self.embed_features(inputs, training=False).numpy()
        return vectors

    def _histories(self, users: UserBatch, chosen: Flags) -> sparse.csr_matrix:
        """[B, N] 1 for the interactions that are chosen."""
        return marked(users.owners[chosen], users.items[chosen], (len(users), len(self._content)))

    def embed_users(self, users: UserBatch) -> Floats:
        """[B, D] unit vectors of users at their moments, whatever the order of their histories."""
        vectors: Floats = tf.math.l2_normalize(self.embed_tastes(users), axis=1).numpy()
        if self.moments is not None and users.moments is not None:
            return self.moments.moved(vectors, users.moments)
        return vectors

    def embed_prefixes(self, ratings: Ratings, asked: Longs) -> Floats:
        """[P, D] unit vectors of users by what they had rated before each place of `asked`, ascending.

        What `embed_users` makes of `prefixes` but for rounding: running sums over each
        user's ratings take the place of a bag for every prefix. They are laid out for
        whole users, about `BLOCK` ratings at once, up to the last that is asked for.
        """
        owners = ratings.users[asked]
        ends = np.zeros(len(ratings.user_ids), dtype=np.int64)
        ends[owners] = asked
        needed = np.flatnonzero(np.arange(len(ratings)) < ends[ratings.users])
        offsets = np.concatenate([[0], np.cumsum(np.maximum(ends - ratings.offsets[:-1], 0))])
        tables = [self.user.get_layer(name).get_weights()[0] for name in TABLES]
        vectors = [np.empty((0, tables[0].shape[1]), dtype=np.float32)]
        starts = offsets[owners]
        sizes = asked - ratings.offsets[owners]
        for first, last in _whole_users(offsets):
            mine = slice(*np.searchsorted(starts, (first, last)))
            begins = starts[mine] - first
            places = begins + sizes[mine]
            items = ratings.items[needed[first:last]]
            liked = ratings.stars[needed[first:last]] >= LIKE_STARS
            sums, counts = [], []
            for table, chosen in zip(tables, (liked, liked, ~liked), strict=True):
                running = np.zeros((last - first + 1, table.shape[1]))
                np.cumsum(table[items] * chosen[:, None], axis=0, out=running[1:])
                numbers = np.concatenate([[0], np.cumsum(chosen)])
                counts.append(numbers[places] - numbers[begins])
                roots = np.sqrt(np.maximum(counts[-1], 1))[:, None]
                sums.append(((running[places] - running[begins]) / roots).astype(np.float32))
            alone = tells_likes_alone(*counts[1:])
            bags = np.where(alone[:, None], sums[1], sums[0]), sums[2]
            unstated = np.full((len(places), self.genres), np.nan, dtype=np.float32)
            inputs = (*bags, *self._beside_bags(np.stack(counts[1:], axis=1), unstated))
            embedded = self.head([*map(tf.constant, inputs)], training=False)
            vectors.append(tf.math.l2_normalize(embedded, axis=1).numpy())
        return np.concatenate(vectors)

    def score(self, users: UserBatch) -> Floats:
        """[B, N] scores of the whole catalogue for each user."""
        vectors, items = self.embed_users(users), self.item_vectors()
        if self.order is None or not users.asks_next.any():
            return vectors @ items.T
        following = self.order.embed(vectors, users) @ self.order.items(items).T
        return np.where(users.asks_next[:, None], following, vectors @ items.T)

    def item_vectors(self) -> Floats:
        """[N, D] vectors of the catalogue, whose length carries popularity."""
        learnt = self.embed_items(tf.range(len(self._content))).numpy()
        if not np.array_equal(learnt, self._placed[0]):
            self._placed = learnt, self._regression.place(learnt)
        return self._placed[1]

    def learn_agreement(self, ratings: Ratings) -> None:
        """Find out on what the users of `ratings` agree, of many users by some."""
        users = len(ratings.user_ids)
        if users > MOST_AGREEING:
            chosen = np.zeros(users, dtype=np.bool_)
            chosen[np.random.default_rng([self.recipe.seed, 7]).choice(users, MOST_AGREEING, False)] = True
            ratings, users = ratings.take(chosen[ratings.users]), MOST_AGREEING
        batch = UserBatch.of_histories(ratings, self.genres)
        tastes = [self.embed_users(batch.slice(first, first + AT_ONCE)) for first in range(0, users, AT_ONCE)]
        self.agreement = agreement_of(np.concatenate(tastes))

    def directions(self) -> Floats:
        """[N, D] unit vectors of the catalogue: items are near that appeal to the same users."""
        vectors: Floats = tf.math.l2_normalize(self.item_vectors() @ self.agreement, axis=1).numpy()
        return vectors

    def export(self) -> tuple[Weights, Weights]:
        """The user tower and the item tower for NumPy (`indexer/towers`)."""
        vectors = self.item_vectors()
        kernel, bias = self._regression.fit(vectors)
        kernel = kernel[: self._content.shape[1]]  # what likeness says is told item by item, in `ids`
        mean, scale = self._year
        settings = {
            "kind": "identity",
            "year_mean": mean,
            "year_scale": scale,
            "largest_norm": _largest_norm(vectors),
        }
        items = {
            "ids": vectors - self._content @ kernel - bias,
            "content_0_kernel": kernel,
            "content_0_bias": bias,
            "year_knots": self._knots,
            "agreement": self.agreement,
        }
        users = dense_arrays(self.user) | dense_arrays(self.head)
        users["deep_0_kernel"][: 2 * vectors.shape[1]] *= READ
        if self.order is not None:
            users |= dense_arrays(self.order.tower) | {"transitions": self.order.markov.users}
            items["follows"] = self.order.markov.items
            settings["next_largest_norm"] = _largest_norm(self.order.items(vectors))
        about: dict[str, Any] = {"kind": "taste", "gate": self.recipe.gate}
        if self.moments is not None:
            users |= self.moments.tables()
            about["devices"] = list(self.moments.signals.devices)
        return Weights(about, users), Weights(settings, items)


def _whole_users(offsets: Longs) -> Iterator[tuple[int, int]]:
    """First and last place of blocks of ratings that split no user, of `BLOCK` unless one has more."""
    first = 0
    while first < offsets[-1]:
        end = int(np.searchsorted(offsets, first + BLOCK, side="right")) - 1
        last = int(offsets[end]) if offsets[end] > first else int(offsets[offsets > first][0])
        yield first, last
        first = last


def _largest_norm(vectors: Floats) -> float:
    return float(np.linalg.norm(vectors, axis=1).max()) or 1.0


def _bags(table: tf.Tensor, rated: tf.Tensor, values: tf.Tensor, users: tf.Tensor) -> tf.Tensor:
    """[B, D] sums of the rows of `table` [N, D] that users rated, given as `cells` and their values.

    What Keras makes of a sparse input differs in the last bits from run to run.
    """
    rows = values[:, None] * tf.gather(table, rated[:, 1])
    return tf.math.unsorted_segment_sum(rows, rated[:, 0], users)


def cells(matrix: sparse.csr_matrix) -> Longs:
    """[nnz, 2] row and column of what is stored, in order."""
    matrix.sort_indices()
    rows = np.repeat(np.arange(matrix.shape[0]), matrix.getnnz(axis=1))
    return np.stack([rows, matrix.indices], axis=1).astype(np.int64)
