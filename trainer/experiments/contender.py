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
        recipe = replace(self.recipe, seed=self.recipe.seed + fold)
        asks_next = any(trial.users.asks_next.any() for trial in trials.values())
        if isinstance(recipe, RetrievalRecipe) and not asks_next:
            recipe = replace(recipe, sequence_epochs=0)  # taste is answered as if order had never been learnt
        return answers(partial(_fit_recipe, recipe), trials, catalogue)


def _fit_recipe(recipe: Recipe, catalogue: Catalogue, ratings: Ratings) -> Ranker:
    if isinstance(recipe, SeedRecipe):
        return fit_seed(catalogue, SeedRows.of_ratings(catalogue, ratings, recipe), recipe).towers
    # The settings stand, so nobody need be held out again: peers are fitted on everyone too.
    return fit_retrieval(catalogue, ratings, replace(recipe, validation_share=0.0)).towers


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
