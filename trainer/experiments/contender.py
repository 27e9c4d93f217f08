"""What is measured beside the peers, and how any model answers."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.evaluation.protocols import PROTOCOLS, Split, Trial
from deepmoviematch.trainer.evaluation.ranking import rank
from deepmoviematch.trainer.experiments.comparison import Measured
from deepmoviematch.trainer.fit import fit_retrieval, fit_seed
from deepmoviematch.trainer.models.seed import SeedRows
from deepmoviematch.trainer.models.two_towers import TwoTowers
from deepmoviematch.trainer.peers.rankers import EaseRanker, Ranker
from deepmoviematch.trainer.recipe import Recipe, RetrievalRecipe, SeedRecipe


class Contender(Protocol):
    """What is measured beside the peers."""

    @property
    def name(self) -> str:
        """What its row is called."""

    def split(self, split: Split, catalogue: Catalogue, ratings: Ratings, seed: int, fold: int) -> Trial:
        """Whom to ask on a split."""

    def answer(self, trials: Mapping[str, Trial], catalogue: Catalogue, fold: int) -> dict[str, Measured]:
        """Its figures for protocols, by name, which share their training ratings."""


@dataclass(frozen=True)
class FittedRecipe:
    """A recipe, fitted anew on every split."""

    recipe: Recipe

    @property
    def name(self) -> str:
        """See `Contender.name`."""
        return self.recipe.name

    def split(self, split: Split, catalogue: Catalogue, ratings: Ratings, seed: int, fold: int) -> Trial:
        """See `Contender.split`."""
        return split(catalogue, ratings, seed, fold)

    def answer(self, trials: Mapping[str, Trial], catalogue: Catalogue, fold: int) -> dict[str, Measured]:
        """See `Contender.answer`."""
        asks_next = any(trial.users.asks_next.any() for trial in trials.values())
        recipe: Recipe
        if isinstance(self.recipe, SeedRecipe):
            recipe = replace(self.recipe, seed=self.recipe.seed + fold)
        else:
            recipe = for_split(self.recipe, fold, asks_next=asks_next)
        return answers(partial(_fit_recipe, recipe), trials, catalogue)


def _fit_recipe(recipe: Recipe, catalogue: Catalogue, ratings: Ratings) -> Ranker:
    if isinstance(recipe, SeedRecipe):
        return fit_seed(catalogue, SeedRows.of_ratings(catalogue, ratings, recipe), recipe).towers
    return fit_retrieval(catalogue, ratings, recipe).towers


def for_split(recipe: RetrievalRecipe, fold: int, *, asks_next: bool = False) -> RetrievalRecipe:
    """What is fitted of `recipe` on a split, with a seed for each `fold`.

    Nobody is held out again: the settings stand, and peers are fitted on everyone too. Order is learnt where
    users are asked what is next; all else is answered as if it never had been.
    """
    mine = replace(recipe, seed=recipe.seed + fold, validation_share=0.0)
    return mine if asks_next else replace(mine, sequence_epochs=0)


def answers(
    fit: Callable[[Catalogue, Ratings], Ranker], trials: Mapping[str, Trial], catalogue: Catalogue
) -> dict[str, Measured]:
    """Fit a model once and measure it on trials that share their training ratings."""
    started = time.perf_counter()
    ranker = fit(catalogue, next(iter(trials.values())).train)
    fit_s = time.perf_counter() - started
    note = ""
    if isinstance(ranker, EaseRanker) and ranker.solved < ranker.liked:
        note = f"ease is solved for the {ranker.solved:,} most liked of {ranker.liked:,} liked items"
    settled = ranker.recipe.chosen if isinstance(ranker, TwoTowers) else {}
    reports = {
        name: rank(ranker, trial, catalogue, sliced=PROTOCOLS[name].metrics[0])
        for name, trial in trials.items()
    }
    return {name: Measured(report, fit_s, settled=settled, note=note) for name, report in reports.items()}
