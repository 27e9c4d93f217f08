"""The run folder: what a fit leaves, complete once its manifest is there.

`reports.card.FILES` says what each file is.
"""

import hashlib
import importlib.metadata
import io
import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import keras
import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.columns import Column, Kind
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.data.weights import FORMAT, Weights
from deepmoviematch.trainer.likes import popularity
from deepmoviematch.trainer.recipe import Recipe
from deepmoviematch.trainer.reports.card import card
from deepmoviematch.trainer.reports.catalogue_map import map_png
from deepmoviematch.trainer.reports.curves import Curves, curves_csv, curves_png

SAMPLES = 32
"""Users whose features go into `reference.json`; golden queries are made from them."""


class Towers(Protocol):
    """A fitted pair of towers."""

    @property
    def user(self) -> keras.Model:
        """The user tower."""

    @property
    def item(self) -> keras.Model:
        """The item tower."""

    def score(self, users: UserBatch) -> Floats:
        """[B, N] scores of the whole catalogue for each user, higher is better."""

    def directions(self) -> Floats:
        """[N, D] unit vectors of the catalogue: what is near is alike."""

    def export(self) -> tuple[Weights, Weights]:
        """The user tower and the item tower for NumPy."""


Towers_co = TypeVar("Towers_co", bound=Towers, covariant=True)


@dataclass(frozen=True, eq=False)
class Fitted(Generic[Towers_co]):
    """What training gives back."""

    towers: Towers_co

    curves: Curves
    """Figures of the epochs of each phase."""

    metrics: dict[str, Any]
    """What held-out users or rows said of the towers."""

    rating_head: Weights | None = None
    """What predicts ratings beside the ranking."""

    kept: Mapping[str, int] = field(default_factory=dict)
    """For a phase that measured itself the epoch whose weights it kept."""


def write_run(
    folder: Path,
    *,
    fitted: Fitted[Towers],
    recipe: Recipe,
    dataset: Dataset,
    lenient: bool = False,
) -> None:
    """Replace the run in `folder`; it counts as absent until the new manifest is written.

    Args:
        folder: Where to.
        fitted: The towers and how they came about.
        recipe: What was fitted.
        dataset: What it was fitted on.
        lenient: Whether bad rows were dropped.
    """
    contents = _files(fitted, recipe, dataset, lenient)
    models = {"user_tower.keras": fitted.towers.user, "item_tower.keras": fitted.towers.item}
    about = {
        "format": FORMAT,
        "kind": "run",
        "recipe": recipe.to_dict(),
        "dataset": dataset.name,
        "data_digest": dataset.digest,
        "lenient": lenient,
        "seed": recipe.seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": importlib.metadata.version("deepmoviematch"),
        "libraries": libraries(),
        "metrics": fitted.metrics,
        "scale": {"low": dataset.ratings.scale.low, "top": dataset.ratings.scale.top},
    }
    _json(about)  # what no manifest can say is refused while the run before is whole
    manifest = folder / "manifest.json"
    manifest.unlink(missing_ok=True)
    for part in ("user_tower", "item_tower", "rating_head"):  # another family has other files
        shutil.rmtree(folder / part, ignore_errors=True)
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for name, model in models.items():
        model.save(folder / name)
    files = {name: _sha256(folder / name) for name in sorted(contents | models)}
    unfinished = manifest.with_suffix(".part")
    unfinished.write_text(_json(about | {"files": files}), encoding="utf-8")
    unfinished.replace(manifest)


def libraries() -> dict[str, str]:
    """Versions of what decides the figures."""
    names = ("tensorflow", "keras", "numpy", "scipy", "scikit-learn", "pyarrow")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _files(fitted: Fitted[Towers], recipe: Recipe, dataset: Dataset, lenient: bool) -> dict[str, bytes]:
    """Name -> contents of every file that is not a Keras model or the manifest."""
    likers = popularity(dataset.ratings, len(dataset.catalogue))
    buffer = io.BytesIO()
    np.save(buffer, likers, allow_pickle=False)
    title = f"{recipe.name} on {dataset.name}"
    files = {
        "recipe.toml": _toml(recipe).encode(),
        "catalogue.json": json.dumps(_rated(dataset).to_json(), ensure_ascii=False).encode(),
        "popularity.npy": buffer.getvalue(),
        "reference.json": _json(_reference(fitted.towers, dataset)).encode(),
        "curves.csv": curves_csv(fitted.curves).encode(),
        "curves.png": curves_png(fitted.curves, title, kept=fitted.kept),
        "map.png": map_png(fitted.towers.directions(), dataset.catalogue, likers, title),
    }
    towers = {"user tower": fitted.towers.user, "item tower": fitted.towers.item}
    files["card.md"] = card(
        recipe,
        dataset,
        curves=fitted.curves,
        metrics=fitted.metrics,
        popularity=likers,
        parameters={name: tower.count_params() for name, tower in towers.items()},
        lenient=lenient,
    ).encode()
    parts = dict(zip(("user_tower", "item_tower"), fitted.towers.export(), strict=True))
    if fitted.rating_head is not None:
        parts["rating_head"] = fitted.rating_head
    for name, weights in parts.items():
        files |= {f"{name}/{file}": contents for file, contents in weights.to_files().items()}
    return files


def _rated(dataset: Dataset) -> Catalogue:
    """The catalogue, with what the ratings say of its items: for filters, not for the towers."""
    catalogue, ratings = dataset.catalogue, dataset.ratings
    counts = np.bincount(ratings.items, minlength=len(catalogue)).astype(float).tolist()
    totals = np.bincount(ratings.items, weights=ratings.ratings, minlength=len(catalogue)).tolist()
    averages = (total / count if count else None for total, count in zip(totals, counts, strict=True))
    rated = (
        Column("average_rating", Kind.NUMBER, tuple(averages)),
        Column("rating_count", Kind.NUMBER, tuple(counts)),
    )
    return replace(catalogue, columns=(*catalogue.columns, *rated))


def _reference(towers: Towers, dataset: Dataset) -> dict[str, Any]:
    """Users to ask golden queries for, and quantiles of features and scores for monitors of your own."""
    genres = len(dataset.catalogue.genre_names)
    ratings = dataset.ratings
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(ratings.user_ids), min(SAMPLES, len(ratings.user_ids)), replace=False))
    histories = [
        {
            int(ratings.items[row]): float(ratings.stars[row])
            for row in range(*ratings.offsets[user : user + 2])
        }
        for user in chosen
    ]
    samples = UserBatch.of(genres, [{}] * len(histories), histories)
    best = np.sort(towers.score(samples), axis=1)[:, ::-1][:, :10]
    sizes = np.diff(ratings.offsets)
    counts = np.bincount(ratings.items, minlength=len(dataset.catalogue))
    return {
        "histories": [list(history.items()) for history in histories],  # the oldest first
        "preferences": [
            [(int(genre), 5.0) for genre in rng.choice(genres, min(3, genres), replace=False)]
            for _ in range(8 if genres else 0)
        ],
        "features": {
            "history_size": _quantiles(sizes),
            "stars": _quantiles(ratings.stars),
            "genre_shares": (counts @ dataset.catalogue.genres / len(ratings)).tolist(),
        },
        "scores": {"best_ten": _quantiles(best)},
    }


def _quantiles(values: Floats) -> dict[str, float]:
    points = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    return {
        str(point): float(value) for point, value in zip(points, np.quantile(values, points), strict=True)
    }


def _toml(recipe: Recipe) -> str:
    """The recipe as TOML; JSON's scalars and lists are TOML's."""
    settings = recipe.to_dict().items()
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in settings]
    return "\n".join([*lines, ""])


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
