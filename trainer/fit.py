"""From ratings to fitted towers, for either family of recipes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmoviematch.data.errors import DataError
from deepmoviematch.data.lab import is_lab, read_lab
from deepmoviematch.data.readers import read
from deepmoviematch.data.splits import UserSplit, hold_out_users
from deepmoviematch.data.tables import Catalogue, Dataset, Ratings

from .loop import make_deterministic, train
from .metrics import Interval
from .peers import Popularity, Ranker
from .ranking import rank_held_out
from .recipe import Recipe, RetrievalRecipe, SeedRecipe
from .retrieval import RetrievalTask, TwoTowers
from .run import Fitted, Towers, write_run
from .seed import SeedRows, SeedTask, SeedTowers

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
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / CHECKPOINT
    fitted: Fitted[Towers]
    if isinstance(recipe, SeedRecipe):
        rows = seed_rows(data, dataset, recipe)
        fitted = fit_seed(dataset.catalogue, rows, recipe, checkpoint=checkpoint, resume=resume)
    else:
        fitted = fit_retrieval(
            dataset.catalogue, dataset.ratings, recipe, checkpoint=checkpoint, resume=resume
        )
    write_run(out, fitted=fitted, recipe=recipe, dataset=dataset)
    checkpoint.unlink(missing_ok=True)
    return fitted


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
    checkpoint: Path | None = None,
    resume: bool = False,
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
        fingerprint=_fingerprint(recipe, rows.users, rows.items, rows.ratings),
        resume=resume,
    )
    metrics = {"protocol": "rating", "rows": len(rows.test), "test_mse": curves[-1]["test_mse"]}
    return Fitted(towers=towers, curves=curves, metrics=metrics)


def fit_retrieval(
    catalogue: Catalogue,
    ratings: Ratings,
    recipe: RetrievalRecipe,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> Fitted[TwoTowers]:
    """Fit the retrieval towers, all but the validation users, who measure every epoch.

    Where too few users like enough to hold any out, everyone is trained on and the
    metrics stay empty.
    """
    make_deterministic(recipe.seed)
    split = _validation_split(ratings, recipe)
    towers = TwoTowers(catalogue, recipe)
    task = RetrievalTask(towers, catalogue, split.train if split else ratings, recipe)

    def measure() -> dict[str, float]:
        if split is None:
            return {}
        report = rank_held_out(towers, split, catalogue)
        return {
            f"validation_{name}": float(report.per_user[name].mean()) for name in ("ndcg@100", "recall@20")
        }

    curves = train(
        task,
        measure=measure,
        epochs=recipe.epochs,
        seed=recipe.seed,
        checkpoint=checkpoint,
        fingerprint=_fingerprint(recipe, ratings.users, ratings.items, ratings.ratings),
        resume=resume,
    )
    metrics: dict[str, Any] = {"protocol": "new-users", "users": 0}
    if split is not None:
        rankers: dict[str, Ranker] = {"towers": towers, "popularity": Popularity(catalogue, split.train)}
        metrics |= {
            "users": len(split.history.user_ids),
            "rankings": {
                name: _rounded(rank_held_out(ranker, split, catalogue).summary(seed=recipe.seed))
                for name, ranker in rankers.items()
            },
        }
    return Fitted(towers=towers, curves=curves, metrics=metrics)


def _validation_split(ratings: Ratings, recipe: RetrievalRecipe) -> UserSplit | None:
    """The users to validate on; None where the recipe wants none, or the data has too few."""
    if recipe.validation_share == 0:
        return None
    try:
        return hold_out_users(ratings, share=recipe.validation_share, seed=recipe.seed)
    except DataError:
        return None


def _rounded(summary: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    return {
        name: {bound: round(value, 4) for bound, value in asdict(interval).items()}
        for name, interval in summary.items()
    }


def _fingerprint(recipe: Recipe, *columns: npt.NDArray[np.generic]) -> str:
    """Names recipe and data, so that a checkpoint of another is not taken up."""
    digest = hashlib.sha256(json.dumps(recipe.to_dict(), sort_keys=True).encode())
    for column in columns:
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()
