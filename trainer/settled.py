"""What a recipe leaves to the data: how long to train, how wide the embedding is, how to regularise EASE.

Symbols: `B` users who are asked for, `N` items.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import sparse

from deepmoviematch.data.arrays import Doubles, Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.features import LIKE_STARS
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.evaluation.metrics import ndcg, top_rows
from deepmoviematch.trainer.likes import marked
from deepmoviematch.trainer.models.interest import interest_signal
from deepmoviematch.trainer.models.retrieval import MOST_ASKED, USUAL_WIDTH
from deepmoviematch.trainer.models.similar_users import compared
from deepmoviematch.trainer.models.teacher import Known, Teacher, known_of, start, teacher_of
from deepmoviematch.trainer.recipe import RetrievalRecipe

PENALTIES = (200.0, 50.0, 100.0, 400.0, 800.0)
"""Of EASE, the usual one first."""

WIDTHS = (USUAL_WIDTH, 128, 256, 512)
"""Of the embedding, the usual one first."""

MOST_EPOCHS = 30

ENOUGH_LIKES = 40.0
"""Mean likes of a user from which on all `MOST_EPOCHS` teach something new; with fewer, as many fewer do."""

LEAST_STEPS = 400
"""Steps that the epochs come to at least, up to `MOST_EPOCHS`: towers are still near their start before."""

GAIN = 0.01
"""Relative gain in NDCG that is worth the time that twice the width takes to learn and to search."""

MOST_CELLS = 10**8
"""Users looked at times rated items up to which EASE is solved again and again to choose."""

ASKED = 0.2
"""Share of the users looked at who are held out to choose the settings by."""

FEW = 50
"""With fewer held out the usual settings stay."""

TOLD_SHARE = 0.7
"""Chance that a rating is told."""


def settled(recipe: RetrievalRecipe, catalogue: Catalogue, ratings: Ratings) -> RetrievalRecipe:
    """The recipe, in which the data choose for every 0 that leaves it to them.

    The epochs are fewer where users like little: what is held out of it is the same again and again, and is
    learnt by heart. For the rest some users are held out, and EASE of the others ranks for them: with each
    penalty, then as the towers of each width start from it. Where the users are too few, or too many items
    are rated to solve EASE again and again, both are as usual.

    Args:
        recipe: What to complete.
        catalogue: N items.
        ratings: Of everybody whom a fit is given, those whom it will hold out to measure the towers too.
    """
    if not recipe.epochs:
        recipe = replace(recipe, epochs=_epochs(recipe, ratings))
    if recipe.embedding_dim and recipe.ease_penalty:
        return recipe
    usual = replace(
        recipe,
        embedding_dim=recipe.embedding_dim or WIDTHS[0],
        ease_penalty=recipe.ease_penalty or PENALTIES[0],
    )
    known = known_of(ratings, len(catalogue))
    rng = np.random.default_rng([recipe.seed, 6])
    users = rng.permutation(compared(known.likes, [recipe.seed, 6]))
    if len(users) * len(np.unique(ratings.items)) > MOST_CELLS:
        return usual
    asked, others = (np.sort(each) for each in np.split(users, [int(ASKED * len(users))]))
    told, targets = _parted(known.take(asked), rng)
    if targets.shape[0] < FEW:
        return usual
    train = known.take(others)
    chooser = _Chooser(train, interest_signal(*train, usual.ease_penalty, recipe.seed), told, targets)
    if not recipe.ease_penalty:
        usual = replace(usual, ease_penalty=chooser.penalty(usual))
    if not recipe.embedding_dim:
        usual = replace(usual, embedding_dim=chooser.width(usual))
    return usual


def _epochs(recipe: RetrievalRecipe, ratings: Ratings) -> int:
    """How often to ask for everyone."""
    liking = ratings.users[ratings.stars >= LIKE_STARS]
    users = max(len(np.unique(liking)), 1)
    steps = -(-min(users, MOST_ASKED) // recipe.batch_size)
    wanted = max(MOST_EPOCHS * len(liking) / users / ENOUGH_LIKES, LEAST_STEPS / steps)
    return max(round(min(wanted, MOST_EPOCHS)), 1)


class _Chooser(NamedTuple):
    """Chooses by users who are asked for, with EASE of others."""

    train: Known

    signal: float
    """How much their ratings that are no likes tell of interest; see `interest.py`."""

    told: Known
    """Of B users."""

    targets: sparse.csr_matrix
    """[B, N] 1 for what they like besides."""

    def penalty(self, recipe: RetrievalRecipe) -> float:
        """The penalty that ranks best, if by more than a standard error; else the usual one."""
        found = {}
        for penalty in PENALTIES:
            teacher = self._teacher(replace(recipe, ease_penalty=penalty))
            scores = teacher.score(self.told, np.arange(self.targets.shape[1], dtype=np.int32))
            found[penalty] = _ndcg(scores, self.told, self.targets)
        return _best(found)

    def width(self, recipe: RetrievalRecipe) -> int:
        """The last of `WIDTHS` up to which each ranks better than the one before it by more than `GAIN`."""
        teacher, rng = self._teacher(recipe), np.random.default_rng([recipe.seed, 7])
        chosen = WIDTHS[0]
        for wider in WIDTHS[1:]:
            tables = start(teacher, self.train, wider, rng)
            if self._started(tables, wider) <= (1 + GAIN) * self._started(tables, chosen):
                break
            chosen = wider
        return chosen

    def _teacher(self, recipe: RetrievalRecipe) -> Teacher:
        """EASE with the recipe's penalty."""
        return teacher_of(self.train, recipe, self.signal)

    def _started(self, tables: tuple[Floats, Floats, Floats], width: int) -> float:
        """How well the first directions of what `start` gave rank."""
        items, likes, others = (table[:, :width] for table in tables)
        scores = (self.told.likes @ likes + self.told.others @ others) @ items.T
        return float(_ndcg(scores, self.told, self.targets).mean())


def _best(found: Mapping[float, Floats | Doubles]) -> float:
    """The setting of the largest mean over [B] users, if clearly larger than that of the first; else that."""
    usual = next(iter(found))
    best = max(found, key=lambda setting: float(found[setting].mean()))
    gain = found[best] - found[usual]
    return best if gain.mean() > gain.std() / len(gain) ** 0.5 else usual


def _parted(known: Known, rng: np.random.Generator) -> tuple[Known, sparse.csr_matrix]:
    """What is told of those users who have a like besides, and [B, N] 1 for each such like."""
    (likes, targets), (others, _) = (_drawn(each, rng) for each in known)
    asked = np.flatnonzero(targets.getnnz(axis=1))
    return Known(likes, others).take(asked), targets[asked]


def _drawn(flags: sparse.csr_matrix, rng: np.random.Generator) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Each 1 of [B, N] with a chance of `TOLD_SHARE` in the first of two matrices, else in the second."""
    rows, columns = flags.nonzero()
    told = rng.random(len(rows)) < TOLD_SHARE
    first, second = (marked(rows[part], columns[part], flags.shape) for part in (told, ~told))
    return first, second


def _ndcg(scores: Floats, told: Known, targets: sparse.csr_matrix) -> Floats:
    """[B] of all ranks, of what is not told, by the scores [B, N], in which what is told is struck out."""
    items = targets.shape[1]
    scores[(told.likes + told.others).nonzero()] = -np.inf
    hits = np.take_along_axis(targets.toarray() > 0, top_rows(scores, items), axis=1)
    return ndcg(hits, targets.getnnz(axis=1), items)
