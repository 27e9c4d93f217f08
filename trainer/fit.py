"""From ratings to fitted towers, for either family of recipes."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.lab import read_lab
from deepmoviematch.data.likes import Likes
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.readers import holds_lab, read_and_tell
from deepmoviematch.data.weights import Weights
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation.bootstrap import Interval
from deepmoviematch.trainer.evaluation.meter import RankingReport
from deepmoviematch.trainer.evaluation.moments import gains
from deepmoviematch.trainer.evaluation.protocols import Trial, genres_only, new_users
from deepmoviematch.trainer.evaluation.ranking import rank
from deepmoviematch.trainer.evaluation.stars import StarErrors
from deepmoviematch.trainer.models.loop import Checkpoint, Row, Stopping, make_deterministic, train
from deepmoviematch.trainer.models.moments import Moments, MomentTask, features_of
from deepmoviematch.trainer.models.prefixes import later_likes
from deepmoviematch.trainer.models.rating_head import fit_rating_head
from deepmoviematch.trainer.models.retrieval import RetrievalTask
from deepmoviematch.trainer.models.seed import SeedRows, SeedTask, SeedTowers
from deepmoviematch.trainer.models.sequence import SequenceTask
from deepmoviematch.trainer.models.two_towers import TwoTowers
from deepmoviematch.trainer.peers.rankers import EaseRanker, Popularity, Ranker
from deepmoviematch.trainer.recipe import Recipe, RetrievalRecipe, SeedRecipe
from deepmoviematch.trainer.run import Fitted, Towers, write_run
from deepmoviematch.trainer.settled import settled

CHECKPOINT = "checkpoint"
OURS = "of-a-run"
"""A file beside the states in `CHECKPOINT`: other projects have a folder of that name too."""

VALIDATION, VALIDATION_ERROR = "validation_ndcg@100", "validation_error"
"""What decides when to stop: the mean of the users' NDCG told by history and by genres, and its error."""

MOST_VALIDATED = 1_000
"""Users held out at most, or close to it: more would take longer to ask than to learn from."""

EASE_PENALTY = 200.0
"""Of the plain EASE that is printed beside the towers; their teacher reads all ratings and has its own."""

EASE_ITEMS = 4_000
"""Largest catalogue for which EASE is solved once more, just to stand beside the towers."""


def fit_run(
    data: Path, recipe: Recipe, out: Path, *, resume: bool = False, lenient: bool = False
) -> Fitted[Towers]:
    """Fit `recipe` on the data in a folder and leave the run in `out`; say what was dropped of them.

    Args:
        data: Folder in any form that `deepmoviematch.data.readers.read` takes.
        recipe: What to fit.
        out: Folder of the run; a run that is there already is replaced.
        resume: Whether to go on from the checkpoint of an interrupted run.
        lenient: Whether to drop bad rows instead of refusing the data.

    Raises:
        MovieMatchError: If the data break a rule, or training fails.
        KeyboardInterrupt: After SIGINT; it says so where there is something to go on from.
    """
    dataset = read_and_tell(data, lenient=lenient)
    fitted: Fitted[Towers]
    kept = out / CHECKPOINT
    try:
        _refuse_other_folder(out)
        if not resume:
            shutil.rmtree(kept, ignore_errors=True)
        elif not _begun(kept):
            print(f"there is no checkpoint in {out} to go on from; beginning anew", file=sys.stderr)
        kept.mkdir(parents=True, exist_ok=True)
        (kept / OURS).touch()
        if isinstance(recipe, SeedRecipe):
            rows = seed_rows(data, dataset, recipe)
            checkpoint = Checkpoint(kept, _fingerprint(recipe, rows.digest), resume)
            fitted = fit_seed(dataset.catalogue, rows, recipe, checkpoint=checkpoint)
        else:
            if warning := Likes.of(dataset.ratings).warning:
                print(warning, file=sys.stderr)
            checkpoint = Checkpoint(kept, _fingerprint(recipe, dataset.digest), resume)
            ranking = fit_retrieval(dataset.catalogue, dataset.ratings, recipe, checkpoint=checkpoint)
            fitted, recipe = ranking, ranking.towers.recipe
        write_run(out, fitted=fitted, recipe=recipe, dataset=dataset, lenient=lenient)
        shutil.rmtree(kept)
    except OSError as error:
        raise TrainingError(f"{out}: a run's folder must be writable, got {error}") from error
    except KeyboardInterrupt:
        if _begun(kept):
            raise KeyboardInterrupt("fit --resume goes on from the last whole epoch") from None
        raise
    return fitted


def _begun(kept: Path) -> bool:
    """Whether a fit left a whole epoch in its `CHECKPOINT`."""
    return any(kept.glob("*.npz"))


def _refuse_other_folder(out: Path) -> None:
    """A run is written to a new folder, or over another one, whole or interrupted."""
    if (out / CHECKPOINT / OURS).exists() or not out.is_dir() or not any(out.iterdir()):
        return
    try:
        kind = json.loads((out / "manifest.json").read_bytes())["kind"]
    except (OSError, ValueError, LookupError, TypeError):  # there is none, or none that we wrote
        kind = ""
    if kind != "run":
        there = f"a {kind}" if kind else "other files"
        raise TrainingError(f"--out must be empty or hold a run, got {out} with {there}; choose another")


def seed_rows(data: Path, dataset: Dataset, recipe: SeedRecipe) -> SeedRows:
    """The rows of the exercise's matrices where `dataset` was read from these, else computed from it."""
    if holds_lab(data):
        return SeedRows.of_lab(read_lab(data), recipe)
    return SeedRows.of_ratings(dataset.catalogue, dataset.ratings, recipe)


def fit_seed(
    catalogue: Catalogue,
    rows: SeedRows,
    recipe: SeedRecipe,
    *,
    checkpoint: Checkpoint | None = None,
) -> Fitted[SeedTowers]:
    """Fit the seed towers on the training rows and measure them on the test rows."""
    make_deterministic(recipe.seed)
    towers = SeedTowers(rows, catalogue.genres, recipe)
    task = SeedTask(towers, rows, recipe)
    curve = train(
        task,
        "fit",
        measure=task.measure,
        epochs=recipe.epochs,
        seed=recipe.seed,
        checkpoint=checkpoint,
    )
    metrics = {"protocol": "rating", "rows": len(rows.test), "test_mse": curve[-1]["test_mse"]}
    return Fitted(towers=towers, curves={"fit": curve}, metrics=metrics)


def fit_retrieval(
    catalogue: Catalogue,
    ratings: Ratings,
    recipe: RetrievalRecipe,
    *,
    checkpoint: Checkpoint | None = None,
) -> Fitted[TwoTowers]:
    """Measure the retrieval towers on users held out whole, then fit them again on everyone.

    What the recipe leaves to the data is settled here, once: `TwoTowers.recipe` says what they chose.
    The first fit stops when its validation users say so; the second runs for as many
    epochs as were best, on the same schedule, and the metrics stay those of the first.
    Where too few users like enough to hold any out, or the recipe wants none, everyone
    is fitted on once, for all the epochs, and the metrics are empty. Further phases learn
    the order of histories, and of the moment what was seen to help the validation users.
    The rating head is fitted to the towers as they are.
    """
    recipe = settled(recipe, catalogue, ratings)
    trial = _validation_trial(catalogue, ratings, recipe)
    if trial is None:
        towers, curve = _fit_towers(
            catalogue, ratings, recipe, "fit", epochs=recipe.epochs, checkpoint=checkpoint
        )
        fitted = Fitted(towers, {"fit": curve}, {"protocol": "new-users", "users": 0})
        return _with_further_phases(fitted, ratings, recipe, checkpoint)
    fitted = _fit_and_measure(catalogue, ratings, trial, recipe, checkpoint)
    if not recipe.refit:
        return _with_further_phases(fitted, trial.train, recipe, checkpoint)
    towers, curve = _fit_towers(
        catalogue, ratings, recipe, "refit", epochs=fitted.metrics["epochs"], checkpoint=checkpoint
    )
    fitted = replace(fitted, towers=towers, curves={**fitted.curves, "refit": curve})
    return _with_further_phases(fitted, ratings, recipe, checkpoint)


def _fit_and_measure(
    catalogue: Catalogue,
    ratings: Ratings,
    trial: Trial,
    recipe: RetrievalRecipe,
    checkpoint: Checkpoint | None,
) -> Fitted[TwoTowers]:
    """Towers fitted on those who are not held out, and what the held-out users of `trial` say of them."""
    stopping = Stopping(VALIDATION, VALIDATION_ERROR, recipe.patience) if recipe.patience else None
    questions = {"history": trial}
    if catalogue.genre_names:  # for those who tell no more than how much they like each genre
        questions["genres"] = genres_only(catalogue, trial, recipe.seed)
    towers, curve = _fit_towers(
        catalogue,
        trial.train,
        recipe,
        "measure",
        epochs=recipe.epochs,
        measure=partial(_validate, questions, catalogue),
        stopping=stopping,
        checkpoint=checkpoint,
    )
    kept = {} if stopping is None else {"measure": stopping.best(curve) + 1}
    metrics = {"protocol": "new-users"} | _metrics(towers, trial, catalogue, recipe)
    if (head := _rating_head(towers, trial.train, recipe)) is not None:
        errors = StarErrors.of(ratings, trial, head, towers.directions())
        metrics["ratings"] = errors.figures(seed=recipe.seed)
    metrics |= {
        "epochs": kept.get("measure", recipe.epochs),
        "refit_on_everyone": recipe.refit,
        "held_out_share": _held_out_share(ratings, recipe),
        "moments": _added(towers, trial, ratings, recipe, checkpoint),
    }
    return Fitted(towers, {"measure": curve}, metrics, kept=kept)


def _with_further_phases(
    fitted: Fitted[TwoTowers], ratings: Ratings, recipe: RetrievalRecipe, checkpoint: Checkpoint | None
) -> Fitted[TwoTowers]:
    """The same with order, moments and the rating head, for towers that were fitted on `ratings`."""
    towers, curves = fitted.towers, dict(fitted.curves)
    if ratings.tells_order and recipe.sequence_epochs and len(later_likes(ratings)):
        make_deterministic(recipe.seed)
        task = SequenceTask(towers, ratings, recipe)
        curves["sequence"] = train(
            task, "sequence", epochs=recipe.sequence_epochs, seed=recipe.seed, checkpoint=checkpoint
        )
        towers.order = task.order()
    added = fitted.metrics.get("moments", {})
    if features := tuple(name for name, figures in added.items() if figures["on"]):
        towers.moments, curves["moments"] = fit_moments(
            towers, ratings, features, recipe, "moments", checkpoint=checkpoint
        )
    return replace(fitted, curves=curves, rating_head=_rating_head(towers, ratings, recipe))


def predicts_ratings(recipe: RetrievalRecipe, ratings: Ratings) -> bool:
    """Whether the recipe's rating head is fitted: there is nothing to predict where all ratings are equal."""
    return recipe.rating_head and ratings.scale.low < ratings.scale.top


def _rating_head(towers: TwoTowers, ratings: Ratings, recipe: RetrievalRecipe) -> Weights | None:
    return fit_rating_head(ratings, towers.directions()) if predicts_ratings(recipe, ratings) else None


def _fit_towers(
    catalogue: Catalogue,
    ratings: Ratings,
    recipe: RetrievalRecipe,
    phase: str,
    *,
    epochs: int,
    measure: Callable[[TwoTowers], Row] | None = None,
    stopping: Stopping | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[TwoTowers, list[Row]]:
    """Fresh towers fitted on all of `ratings`, the same whatever was fitted before them."""
    make_deterministic(recipe.seed)
    towers = TwoTowers(catalogue, np.bincount(ratings.items, minlength=len(catalogue)), recipe)
    task = RetrievalTask(towers, catalogue, ratings, recipe)
    curve = train(
        task,
        phase,
        measure=partial(measure, towers) if measure else dict,
        epochs=epochs,
        seed=recipe.seed,
        stopping=stopping,
        checkpoint=checkpoint,
    )
    towers.log_scale = task.log_scale
    towers.learn_agreement(ratings)
    return towers, curve


def _added(
    towers: TwoTowers, trial: Trial, ratings: Ratings, recipe: RetrievalRecipe, checkpoint: Checkpoint | None
) -> dict[str, dict[str, Any]]:
    """What each feature of the moment adds for the users of `trial`; `on` where that is more than chance."""
    features = features_of(trial.train) if recipe.moment_epochs else ()
    if not features:
        return {}
    moments, _ = fit_moments(towers, trial.train, features, recipe, "moments measured", checkpoint=checkpoint)
    found = gains(towers, moments, trial, ratings)
    return {name: gain.figures(recipe.seed) for name, gain in found.items()}


def fit_moments(
    towers: TwoTowers,
    ratings: Ratings,
    features: tuple[str, ...],
    recipe: RetrievalRecipe,
    phase: str,
    *,
    checkpoint: Checkpoint | None = None,
) -> tuple[Moments, list[Row]]:
    """What `features` of the moment add to towers that were fitted on `ratings`, and the phase's figures."""
    make_deterministic(recipe.seed)
    task = MomentTask(towers, ratings, features, recipe)
    curve = train(task, phase, epochs=task.epochs, seed=recipe.seed, checkpoint=checkpoint)
    return task.moments(), curve


def _validate(questions: dict[str, Trial], catalogue: Catalogue, towers: TwoTowers) -> Row:
    """What the validation users say after an epoch: NDCG for each question, and the mean, which decides."""
    said = {name: rank(towers, trial, catalogue).per_user["ndcg@100"] for name, trial in questions.items()}
    means = {f"{name}_ndcg@100": float(values.mean()) for name, values in said.items()}
    errors = [float(values.std()) / len(values) ** 0.5 for values in said.values()]
    return {
        VALIDATION: sum(means.values()) / len(said),
        VALIDATION_ERROR: sum(errors) / len(said),  # at the most: the questions are about the same users
    } | means


def _metrics(
    towers: TwoTowers, trial: Trial, catalogue: Catalogue, recipe: RetrievalRecipe
) -> dict[str, Any]:
    """What the manifest says of the ranking, with popularity beside it, and EASE where it is cheap."""
    rankers: dict[str, Ranker] = {"towers": towers, "popularity": Popularity(catalogue, trial.train)}
    if len(catalogue) <= EASE_ITEMS:
        rankers["ease"] = EaseRanker(catalogue, trial.train, EASE_PENALTY)
    return {
        "users": len(trial.users),
        "rankings": {
            name: _figures(rank(ranker, trial, catalogue), recipe.seed) for name, ranker in rankers.items()
        },
    }


def _validation_trial(catalogue: Catalogue, ratings: Ratings, recipe: RetrievalRecipe) -> Trial | None:
    """The users to validate on; None where the recipe wants none, or too few like enough to ask for."""
    try:
        return new_users(catalogue, ratings, recipe.seed, share=_held_out_share(ratings, recipe))
    except DataError:
        return None


def _held_out_share(ratings: Ratings, recipe: RetrievalRecipe) -> float:
    """The recipe's share of the users, or less where that would be more than `MOST_VALIDATED` of them."""
    return min(recipe.validation_share, MOST_VALIDATED / len(ratings.user_ids))


def _figures(report: RankingReport, seed: int) -> dict[str, Any]:
    """What a generation's manifest says of the ranking."""
    figures: dict[str, Any] = {}
    for name in ("ndcg@100", "ndcg@10", "recall@20", "recall@50"):
        interval = asdict(Interval.of(report.per_user[name], seed=seed))
        figures[name] = {bound: round(value, 4) for bound, value in interval.items()}
    return figures | {name: round(value, 4) for name, value in report.lists.items()}


def _fingerprint(recipe: Recipe, digest: str) -> str:
    """Names recipe and data, so that a checkpoint of another is not taken up."""
    return hashlib.sha256(json.dumps([recipe.to_dict(), digest]).encode()).hexdigest()
