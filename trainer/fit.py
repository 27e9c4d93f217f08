"""From ratings to fitted towers, for either family of recipes."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from deepmoviematch.data.errors import DataError
from deepmoviematch.data.features import LIKE_STARS
from deepmoviematch.data.lab import is_lab, read_lab
from deepmoviematch.data.readers import read
from deepmoviematch.data.splits import MIN_LIKES
from deepmoviematch.data.tables import Catalogue, Dataset, Ratings

from .errors import TrainingError
from .loop import Checkpoint, make_deterministic, train
from .metrics import Interval, RankingReport
from .peers import Popularity, Ranker
from .protocols import Trial, new_users
from .ranking import rank
from .recipe import Recipe, RetrievalRecipe, SeedRecipe
from .retrieval import RetrievalTask, TwoTowers
from .run import Fitted, Towers, write_run
from .seed import SeedRows, SeedTask, SeedTowers
from .sequence import SequenceTask, later_likes

CHECKPOINT = "checkpoint.npz"


def fit_run(
    data: Path, recipe: Recipe, out: Path, *, resume: bool = False, lenient: bool = False
) -> Fitted[Towers]:
    """Fit `recipe` on the data in a folder and leave the run in `out`.

    Args:
        data: Folder in any form that `deepmoviematch.data.readers.read` takes.
        recipe: What to fit.
        out: Folder of the run; a run that is there already is replaced.
        resume: Whether to go on from the checkpoint of an interrupted run.
        lenient: Whether to drop bad rows instead of refusing the data.

    Raises:
        MovieMatchError: If the data break a rule, or training fails.
    """
    dataset = read(data, lenient=lenient)
    fitted: Fitted[Towers]
    try:
        _refuse_other_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        path = out / CHECKPOINT
        if isinstance(recipe, SeedRecipe):
            rows = seed_rows(data, dataset, recipe)
            digest = rows.digest
            checkpoint = Checkpoint(path, _fingerprint(recipe, digest), resume)
            fitted = fit_seed(dataset.catalogue, rows, recipe, checkpoint=checkpoint)
        else:
            digest = dataset.digest
            checkpoint = Checkpoint(path, _fingerprint(recipe, digest), resume)
            fitted = fit_retrieval(dataset.catalogue, dataset.ratings, recipe, checkpoint=checkpoint)
        write_run(out, fitted=fitted, recipe=recipe, dataset=dataset, digest=digest)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(f"{out}: a run's folder must be writable, got {error}") from error
    return fitted


def _refuse_other_folder(out: Path) -> None:
    """A run is written to a new folder, or over another run."""
    ours = {"manifest.json", "recipe.toml", CHECKPOINT}
    if out.is_dir() and any(out.iterdir()) and not any((out / name).exists() for name in ours):
        raise TrainingError(f"--out must be empty or hold a run, got {out} with other files; choose another")


def seed_rows(data: Path, dataset: Dataset, recipe: SeedRecipe) -> SeedRows:
    """The rows of the exercise's matrices where `data` holds them, else computed from the tables."""
    if is_lab(data):
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
    curves = train(
        task,
        measure=task.measure,
        epochs=recipe.epochs,
        seed=recipe.seed,
        checkpoint=checkpoint,
    )
    metrics = {"protocol": "rating", "rows": len(rows.test), "test_mse": curves[-1]["test_mse"]}
    return Fitted(towers=towers, curves=curves, metrics=metrics)


def fit_retrieval(
    catalogue: Catalogue,
    ratings: Ratings,
    recipe: RetrievalRecipe,
    *,
    checkpoint: Checkpoint | None = None,
) -> Fitted[TwoTowers]:
    """Fit the retrieval towers, all but the validation users, who measure every epoch.

    Where too few users like enough to hold any out, everyone is trained on and the
    metrics stay empty.
    """
    make_deterministic(recipe.seed)
    trial = _validation_trial(catalogue, ratings, recipe)
    towers = TwoTowers(catalogue, recipe)
    task = RetrievalTask(towers, catalogue, trial.train if trial else ratings, recipe)

    def measure() -> dict[str, float]:
        if trial is None:
            return {}
        report = rank(towers, trial, catalogue)
        return {
            f"validation_{name}": float(report.per_user[name].mean()) for name in ("ndcg@100", "recall@20")
        }

    curves = train(
        task,
        measure=measure,
        epochs=recipe.epochs,
        seed=recipe.seed,
        checkpoint=checkpoint,
    )
    towers.log_scale = task.log_scale
    train_on = trial.train if trial else ratings
    if train_on.timestamps is not None and recipe.sequence_epochs and len(later_likes(train_on)):
        curves += _fit_sequence(towers, train_on, recipe, after=len(curves))
    metrics: dict[str, Any] = {"protocol": "new-users", "users": 0}
    if trial is not None:
        rankers: dict[str, Ranker] = {"towers": towers, "popularity": Popularity(catalogue, trial.train)}
        metrics |= {
            "users": len(trial.users),
            "rankings": {
                name: _figures(rank(ranker, trial, catalogue), recipe.seed)
                for name, ranker in rankers.items()
            },
        }
    return Fitted(towers=towers, curves=curves, metrics=metrics)


def _fit_sequence(
    towers: TwoTowers, ratings: Ratings, recipe: RetrievalRecipe, *, after: int
) -> list[dict[str, float]]:
    """Run the second phase; its rows count epochs on from `after` and call the loss `next_loss`."""
    make_deterministic(recipe.seed)  # whether the first phase was run or restored
    rows = train(
        SequenceTask(towers, ratings, recipe), measure=dict, epochs=recipe.sequence_epochs, seed=recipe.seed
    )
    return [
        {"epoch": after + row["epoch"], "next_loss": row["loss"], "seconds": row["seconds"]} for row in rows
    ]


def _validation_trial(catalogue: Catalogue, ratings: Ratings, recipe: RetrievalRecipe) -> Trial | None:
    """The users to validate on; None where the recipe wants none, or too few like enough."""
    likes = np.bincount(ratings.users[ratings.stars >= LIKE_STARS])
    if round(recipe.validation_share * int((likes >= MIN_LIKES).sum())) == 0:
        return None
    try:
        return new_users(catalogue, ratings, recipe.seed, share=recipe.validation_share)
    except DataError:  # the few who were drawn have no like outside their histories
        return None


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
