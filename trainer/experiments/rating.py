"""The rating protocol: errors of predicted ratings on rows that were never trained on."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.ratings import pair_codes
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation.bootstrap import Interval
from deepmoviematch.trainer.evaluation.protocols import new_users
from deepmoviematch.trainer.evaluation.stars import StarErrors
from deepmoviematch.trainer.experiments.contender import for_split
from deepmoviematch.trainer.experiments.plan import Plan
from deepmoviematch.trainer.experiments.table import Table, about
from deepmoviematch.trainer.fit import fit_retrieval, fit_seed, predicts_ratings, seed_rows
from deepmoviematch.trainer.models.seed import SeedRows
from deepmoviematch.trainer.peers.baselines import (
    Predictor,
    RatingRows,
    bias_model,
    global_mean,
    item_mean,
    user_mean,
)
from deepmoviematch.trainer.peers.factors import bayesian, penalised
from deepmoviematch.trainer.recipe import Recipe, RetrievalRecipe, SeedRecipe

FACTORS = "user + movie bias + 16 factors"
"""What a rating model has to beat."""

TestPredictor: TypeAlias = Callable[[], Floats]
"""Gives what a fitted model predicts for the test rows."""


def check_rating(dataset: Dataset, recipe: Recipe, plan: Plan) -> None:
    """Refuse, before anything is fitted, what leaves no rating to predict.

    Raises:
        MovieMatchError: If the recipe predicts no ratings, all are equal, or the users are too few.
    """
    if isinstance(recipe, SeedRecipe):
        return
    ratings = dataset.ratings
    if not predicts_ratings(recipe, ratings):
        raise TrainingError(
            "this protocol needs a recipe that predicts ratings, and ratings that differ, "
            f"got rating_head = {recipe.rating_head} and {ratings.scale.low:g} to {ratings.scale.top:g}"
        )
    for fold in range(plan.splits):
        new_users(dataset.catalogue, ratings, plan.seed, fold)


def rating_table(data: Path, dataset: Dataset, recipe: Recipe, plan: Plan) -> Table:
    """Errors of the ratings that `recipe` predicts, beside those of simple ways to predict them.

    Args:
        data: Folder of the data, which may hold the exercise's matrices.
        dataset: What was read from it.
        recipe: What to fit.
        plan: What to ask; it must have passed `check_rating`.
    """
    if not isinstance(recipe, SeedRecipe):
        return rating_of_new_users(dataset, recipe, seed=plan.seed, splits=plan.splits)
    table = rating(dataset, rows := seed_rows(data, dataset, recipe), recipe)
    if not rows.leaks:
        return table
    honest = SeedRows.of_ratings(dataset.catalogue, dataset.ratings, recipe)
    return replace(table, honest=rating(dataset, honest, recipe))


def rating(dataset: Dataset, rows: SeedRows, recipe: SeedRecipe) -> Table:
    """Errors of predicted ratings on the test rows, the baselines' beside the model's."""
    everything = RatingRows.of_ids(rows.user_ids, rows.item_ids, rows.ratings)
    train, test = everything.take(rows.train), everything.take(rows.test)
    half_range = float(np.ptp(train.ratings)) / 2 or 1.0  # scaled ratings run from -1 to 1
    scale = dataset.ratings.scale
    peers: dict[str, Callable[[RatingRows], Predictor]] = {
        "global mean": global_mean,
        "user mean": user_mean,
        "movie mean": item_mean,
        "user + movie bias": partial(bias_model, seed=recipe.seed),
        FACTORS: partial(penalised, seed=recipe.seed),
        "the same, Bayesian": partial(bayesian, seed=recipe.seed),
    }
    fits: dict[str, Callable[[], TestPredictor]] = {
        name: partial(_fit_peer, fit, train, test) for name, fit in peers.items()
    }
    fits[recipe.name] = partial(_fit_towers, dataset.catalogue, rows, recipe)
    measured: dict[str, dict[str, Any]] = {}
    squares = {}
    for name, fit in fits.items():
        started = time.perf_counter()
        predict = fit()
        seconds = time.perf_counter() - started
        predicted = predict()
        errors = (predicted - test.ratings).astype(np.float64)
        in_stars = scale.stars(predicted) - scale.stars(test.ratings)
        squares[name] = in_stars**2
        measured[name] = {
            "mse_scaled": float(np.mean(errors**2)) / half_range**2,
            "rmse_stars": asdict(Interval.of(squares[name], seed=recipe.seed, persons=test.users).root),
            "mae_stars": float(np.mean(np.abs(in_stars), dtype=np.float64)),
            "fit_s": round(seconds, 2),
        }
    for name, theirs in squares.items():
        if name != FACTORS:
            ratio = Interval.of_ratio(theirs, squares[FACTORS], seed=recipe.seed, persons=test.users)
            measured[name]["rmse, of 16 factors'"] = asdict(ratio.root)
    repeated = _repeated_share(train, test)
    header = about(dataset, "rating", recipe) | {
        "train_rows": len(train.ratings),
        "test_rows": len(test.ratings),
        "seed": recipe.seed,
        "repeated_share": repeated,
    }
    notes = ["intervals: 95 % bootstrap over users, the same ones for every model"]
    if repeated:
        notes.append(
            f"{repeated:.1%} of the test rows repeat a user and movie of the training rows; that flatters"
        )
    if rows.leaks:
        notes.append("the features come with the data and were computed from test ratings too; that flatters")
    return Table(about=header, rows=measured, notes=tuple(notes))


def rating_of_new_users(dataset: Dataset, recipe: RetrievalRecipe, *, seed: int, splits: int) -> Table:
    """Errors of the rating head on what users whom no model has seen do not tell, beside the biases'."""
    catalogue, ratings = dataset.catalogue, dataset.ratings
    parts, settled = [], []
    for fold in range(splits):
        trial = new_users(catalogue, ratings, seed, fold)
        fitted = fit_retrieval(catalogue, trial.train, for_split(recipe, fold))
        settled.append(fitted.towers.recipe.chosen)
        if fitted.rating_head is not None:
            directions = fitted.towers.directions()
            parts.append(StarErrors.of(ratings, trial, fitted.rating_head, directions))
    errors = StarErrors.pooled(parts)
    header = about(dataset, "rating", recipe) | {
        "splits": splits,
        "seed": seed,
        "asked_ratings": len(errors.users),
        "settled": settled,
    }
    notes = (
        "users whom no model has seen tell 80 % of their ratings; all the others are predicted",
        "intervals: 95 % bootstrap over users, the same ones for every way to predict",
    )
    return Table(about=header, rows=errors.figures(seed=seed), notes=notes)


def _fit_peer(fit: Callable[[RatingRows], Predictor], train: RatingRows, test: RatingRows) -> TestPredictor:
    return partial(fit(train), test)


def _fit_towers(catalogue: Catalogue, rows: SeedRows, recipe: SeedRecipe) -> TestPredictor:
    towers = fit_seed(catalogue, rows, recipe).towers
    return partial(towers.predict, rows.users[rows.test], rows.items[rows.test])


def _repeated_share(train: RatingRows, test: RatingRows) -> float:
    """Share of the test rows whose pair of user and item is in the training rows too."""
    width = int(max(train.items.max(), test.items.max())) + 1
    trained = pair_codes(train.users, train.items, width)
    return float(np.isin(pair_codes(test.users, test.items, width), trained).mean())
