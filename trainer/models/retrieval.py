"""How the retrieval recipe is trained: towers that rank for a history or stated preferences.

In a step, every user of the batch is asked for three times (`views.py`): with a
long history, with a short one, and with stated preferences alone. Each time is a
softmax over the catalogue, or a draw from it, without what is known; it also follows a
teacher. Where the history is long that is a closed-form EASE, from whose factors the towers start, of all
ratings or, where likes are all that is told, of likes. Where it is short it is similar users, with what a
few likes say in closed form; where favourite genres are all that is stated, whoever might tick the same.
Symbols: `B` users of a batch, `U` users, `N` items, `C` items of a step, `G` genres,
`D` width.
"""

from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from scipy import sparse

from deepmoviematch.data.arrays import Flags, Floats, Ints, Longs
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.features import LIKE_STARS, preference_signal, tells_likes_alone
from deepmoviematch.data.ratings import TOP_STARS, Ratings
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.likes import base_shares, genre_shares, marked
from deepmoviematch.trainer.models.adam import Adam
from deepmoviematch.trainer.models.candidates import Candidates, columns_of
from deepmoviematch.trainer.models.few_likes import FewLikes
from deepmoviematch.trainer.models.head_start import fit_last_layer
from deepmoviematch.trainer.models.interest import interest_signal
from deepmoviematch.trainer.models.losses import (
    logit_mask,
    shares_of,
    soft_cross_entropy,
    target_counts,
    triplet_loss,
)
from deepmoviematch.trainer.models.similar_tastes import SimilarTastes
from deepmoviematch.trainer.models.similar_users import SimilarUsers
from deepmoviematch.trainer.models.teacher import Known, known_of, start, teacher_of
from deepmoviematch.trainer.models.towers import TABLES
from deepmoviematch.trainer.models.two_towers import TwoTowers, UserInputs, cells
from deepmoviematch.trainer.models.views import (
    DECIDED,
    RatedBy,
    Statements,
    history_view,
    sample_statements,
    short_view,
    stated_view,
)
from deepmoviematch.trainer.recipe import RetrievalRecipe

LEAST_CHANCE = 1e-6
"""What items are given that interest nobody."""

FEW_WEIGHT = 6.0
"""What a score of `FewLikes` adds to the logarithm of a chance that similar users give."""

MOST_ASKED = 16_384
"""Users that an epoch asks for at most; of more, each epoch draws others."""

USUAL_WIDTH = 64
"""Of the embedding, up to which the tables do not decay."""

FAINT = 0.01
"""Share of the longest taste up to which one is nothing but rounding: nobody else has what the user likes."""

STATED = 4
"""Times that each user states preferences before training starts."""


class Questions(NamedTuple):
    """What a step asks of 3 B users, the views one after the other: arrays, or tensors of the same shapes."""

    candidates: Ints
    """[C] rows of the catalogue."""

    correction: Floats
    """[C] what to add to their logits for the draw."""

    known: Longs
    """[., 2] user and column that are out of the running."""

    targets: Longs
    """[., 2] user and column that are asked for."""

    taught: Floats
    """[3 B C] the logits of each view's teacher, flat, as the loop lets no second dimension change."""

    followed: Floats
    """[3 B] share of the loss that follows the teacher."""

    weights: Floats
    """[3 B] of the users in the loss."""


class RetrievalTask:
    """Trains `TwoTowers` on ratings; see `trainer.models.loop.Task`."""

    def __init__(
        self, towers: TwoTowers, catalogue: Catalogue, ratings: Ratings, recipe: RetrievalRecipe
    ) -> None:
        """Start the towers from EASE's factors and set the optimizer up."""
        self._towers, self._recipe = towers, recipe
        self._known = known_of(ratings, len(catalogue))
        self._likes = self._known.likes  # [U, N]
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
        self._candidates = Candidates(
            self._likes.getnnz(axis=0), towers.rated, recipe.drawn_items(len(catalogue))
        )
        signal = interest_signal(*self._known, recipe.ease_penalty, recipe.seed)
        self.teacher = teacher_of(self._known, recipe, signal)
        self.likes_teacher = self.teacher if signal == 0 else teacher_of(self._known, recipe, signal=0)
        interests = self._likes + signal * recipe.interest * self._known.others
        self._similar = SimilarUsers.fit(self._likes, interests, recipe.seed)
        self._few = FewLikes.fit(self._likes, interests, recipe.seed)
        self._tastes = SimilarTastes.fit(self._likes, self._shares, DECIDED, recipe.seed)
        scale = self._start()

        self._log_scale = keras.Variable(np.log(scale), dtype="float32", name="log_scale")
        self.models = (towers.head, towers.item)
        self.trainable = [
            *towers.user.trainable_variables,
            *towers.item.trainable_variables,
            self._log_scale,
        ]
        self._asked = min(len(self._users), MOST_ASKED)
        steps = recipe.epochs * -(-self._asked // recipe.batch_size)
        tables = [towers.user.get_layer(name) for name in TABLES] + [towers.item.get_layer("ids")]
        self.optimizer = Adam(
            recipe.learning_rate,
            steps,
            decay=recipe.start_decay * max(recipe.embedding_dim / USUAL_WIDTH - 1, 0),
            decaying=[variable for table in tables for variable in table.trainable_variables],
            fast=[variable for variable in towers.head.trainable_variables if "deep_" in variable.path],
        )

    def _start(self) -> float:
        """Let the linear part of the towers rebuild EASE and return the scale of the logits that fits.

        With `start`'s Q, AQ and CQ the ids are 3 Q and the user's tables are 20 A Q and 20 r C Q, so that
        the bags' product with the items is about 60 (L A + O C) Q Q^T over the root of the number of
        likes. The bag of other ratings is divided by the root of their own number instead, for which r
        makes up on average. The table of likes that are told alone is 20 A'Q, with A' of the teacher that
        reads nothing else. The scale is one over the temperature: for the median user of whom the teacher
        knows more than nothing it makes the logits those of the teacher, but for the root of the number of
        likes, for which 6 stands.
        """
        recipe = self._recipe
        rng = np.random.default_rng([recipe.seed, 2])
        everyone = self._known.take(self._users)
        factors, likes, others = start(self.teacher, everyone, recipe.embedding_dim, rng)
        likes, others = 20 * likes, 20 * np.sqrt(everyone.others.nnz / everyone.likes.nnz) * others
        alone = 20 * self.likes_teacher.times(factors)[0]
        self._towers.item.get_layer("ids").set_weights([3 * factors])
        for name, table in zip(TABLES, (likes, alone, others), strict=True):
            self._towers.user.get_layer(name).set_weights([table])
        users = self._users if len(self._users) <= MOST_ASKED else rng.choice(self._users, MOST_ASKED, False)
        roots = np.sqrt(self._likes[users].getnnz(axis=1)).astype(np.float32)
        tastes = (self._likes[users] @ likes) / roots[:, None]
        if self._towers.genres:
            self._start_genres(users, tastes, roots)
        lengths = np.linalg.norm(tastes, axis=1)
        heard = lengths > FAINT * lengths.max()
        return float(np.median(lengths[heard])) / (10 * recipe.teacher_temperature) if heard.any() else 1.0

    def _start_genres(self, users: Longs, tastes: Floats, weights: Floats) -> None:
        """Let what reads preferences guess the `tastes` [U, D] that the likes of `users` [U] give."""
        rng = np.random.default_rng([self._recipe.seed, 4])
        shares = self._shares[users]
        stated = [sample_statements(shares, self._base, rng).preferences for _ in range(STATED)]
        fit_last_layer(
            self._towers.head,
            "taste",
            preference_signal(np.concatenate(stated)),
            np.tile(tastes, (STATED, 1)),
            np.tile(weights, STATED),
        )

    @property
    def log_scale(self) -> float:
        """What the softmax learnt to multiply products with, as a logarithm."""
        return float(self._log_scale.numpy())

    def batches(self, epoch: int) -> Iterator[tuple[npt.NDArray[np.generic], ...]]:
        """See `trainer.models.loop.Task.batches`: `UserInputs` of 3 B users, then `Questions`."""
        rng = np.random.default_rng([self._recipe.seed, epoch])
        users = rng.permutation(self._users)[: self._asked]
        for first in range(0, len(users), self._recipe.batch_size):
            yield self._batch(users[first : first + self._recipe.batch_size], rng)

    def _batch(self, users: Longs, rng: np.random.Generator) -> tuple[npt.NDArray[np.generic], ...]:
        recipe, rated = self._recipe, self._rated_by(users)
        statements = sample_statements(self._shares[users], self._base, rng)
        stated = statements.preferences
        views = [
            (history_view(rated, stated, recipe.history_share, rng, alone=recipe.alone_share), 1.0),
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
        asked = cells(targets)
        candidates, correction = self._candidates.draw(np.unique(asked[:, 1]), rng)
        known = cells(likes + others)
        there, known_columns = columns_of(known[:, 1], candidates)
        long = Known(likes[: rated.size], others[: rated.size])
        taught, follows = self._taught(
            long, likes[rated.size : 2 * rated.size], statements, users, candidates
        )
        followed = np.repeat(
            (recipe.distillation, recipe.short_distillation, recipe.stated_distillation), rated.size
        )
        questions = Questions(
            candidates=candidates,
            correction=correction,
            known=np.column_stack([known[there, 0], known_columns]),
            targets=np.column_stack([asked[:, 0], columns_of(asked[:, 1], candidates)[1]]),
            taught=taught.ravel(),
            followed=(followed * follows).astype(np.float32),
            weights=np.repeat(shares, rated.size).astype(np.float32),
        )
        return *self._towers.user_inputs(likes, others, preferences), *questions

    def _taught(
        self,
        long: Known,
        short: sparse.csr_matrix,
        statements: Statements,
        users: Longs,
        candidates: Ints,
    ) -> tuple[Floats, Flags]:
        """[3 B, C] logits of each view's teacher, and [3 B] whether there is anything to follow.

        There is nothing where no history is known, or nobody likes what anybody else does.
        """
        chances = np.concatenate(
            [
                self._similar.chances(short, users, candidates),
                self._ticked_chances(statements, users, candidates),
            ]
        )
        logarithms = np.log(np.maximum(chances, LEAST_CHANCE))
        if self._few is not None:
            logarithms[: len(users)] += FEW_WEIGHT * self._few.score(short, candidates)
        counts = [each.getnnz(axis=1) for each in long]
        alone = tells_likes_alone(*counts)
        scores = np.empty((len(users), len(candidates)), dtype=np.float32)
        for teacher, asked in ((self.teacher, ~alone), (self.likes_teacher, alone)):
            scores[asked] = teacher.score(long.take(asked), candidates)
        scores /= self._recipe.teacher_temperature
        taught = np.concatenate([scores, logarithms], dtype=np.float32)
        return taught, np.concatenate([sum(counts) > 0, chances.any(axis=1)])

    def _ticked_chances(self, statements: Statements, users: Longs, candidates: Ints) -> Floats:
        """[B, C] what users like who might tick the same favourites; 0 for those who tick none."""
        ticks = statements.ticked.any(axis=1)
        chances = np.zeros((len(users), len(candidates)), dtype=np.float32)
        chances[ticks] = self._tastes.chances(
            statements.ticked[ticks], statements.decided[ticks], users[ticks], candidates
        )
        return chances

    def _rated_by(self, users: Longs) -> RatedBy:
        rated = self._stars[users]
        owners = np.repeat(np.arange(len(users)), rated.getnnz(axis=1))
        return RatedBy(owners, rated.indices, rated.data >= LIKE_STARS, len(users))

    def loss(self, *batch: tf.Tensor) -> tf.Tensor:
        """Mix of the softmax over held-out likes and the teacher's over all three views, perhaps triplets."""
        told = len(UserInputs._fields)
        inputs, asked = UserInputs(*batch[:told]), Questions(*batch[told:])
        users = tf.math.l2_normalize(self._towers.embed_features(inputs, training=True), axis=1)  # [3 B, D]
        items = self._towers.embed_items(asked.candidates)  # [C, D]
        asking, drawn = tf.shape(users)[0], tf.shape(asked.candidates)[0]
        open_items = logit_mask(asked.correction, asked.known, asking)  # [3 B, C]
        logits = tf.matmul(tf.exp(self._log_scale.value) * users, items, transpose_b=True) + open_items
        counts = target_counts(asked.targets, asking)
        taught = tf.nn.softmax(tf.reshape(asked.taught, (-1, drawn)) + open_items)  # [3 B, C]
        wanted = shares_of(asked.targets, counts, drawn)
        wanted += asked.followed[:, None] * (taught - wanted)
        # A user with many targets counts for more than one with few, but not in proportion,
        # so that heavy raters do not drown the rest.
        weights = asked.weights * tf.sqrt(counts)
        loss = tf.reduce_sum(weights * soft_cross_entropy(logits, wanted, asked.correction))
        if self._recipe.triplet_weight:
            longest = tf.stop_gradient(tf.reduce_max(tf.norm(items, axis=1)))
            scores = tf.matmul(users, items, transpose_b=True) / longest  # as they are served
            apart = triplet_loss(scores, asked.targets, asked.known, self._recipe.triplet_margin)
            loss += self._recipe.triplet_weight * tf.reduce_sum(asked.weights * apart)
        return loss
