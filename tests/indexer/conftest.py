"""Tiny training runs with random weights, made without TensorFlow."""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.features import SUMMARIES
from deepmoviematch.data.rating_head import KIND
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.__main__ import main
from deepmoviematch.indexer.build import bundle
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.store import Store

ITEMS, GENRES, WIDTH, HIDDEN, TRANSITIONS = 14, 3, 5, 4, 2

Command: TypeAlias = Callable[..., tuple[int, str, str]]
Bundle: TypeAlias = tuple[dict[str, bytes], dict[str, Any]]


def make_run(folder: Path, recipe: str = "retrieval", *, seed: int = 0) -> Path:
    """Write what the trainer would: 14 items, of which the last three have equal weights."""
    rng = np.random.default_rng(seed)
    catalogue = make_catalogue()
    users, items = (retrieval_towers if recipe == "retrieval" else seed_towers)(rng, catalogue)
    if recipe == "retrieval":
        rating_head(rng).save(folder / "rating_head")
    users.save(folder / "user_tower")
    items.save(folder / "item_tower")
    write_json(folder / "catalogue.json", catalogue.to_json())
    np.save(folder / "popularity.npy", np.round(rng.random(ITEMS), 1).astype(np.float32))
    reference = {
        "histories": [[[0, 5.0], [3, 2.0]], [[13, 4.0]], [[1, 4.5], [2, 4.5], [4, 1.0]]],
        "preferences": [[[0, 5.0], [2, 0.5]], [[1, 4.0]]],
        "features": {"history_size": {"mean": 2.0}},
        "scores": {"mean": 0.1},
    }
    write_json(folder / "reference.json", reference)
    (folder / "notes.txt").write_text("not listed")
    write_manifest(folder, recipe)
    return folder


def write_manifest(folder: Path, recipe: str = "retrieval", **changes: object) -> None:
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in {".npy", ".json"}]
    values: dict[str, Any] = {
        "format": 1,
        "kind": "run",
        "recipe": {"name": recipe, "dim": WIDTH},
        "dataset": "tiny",
        "data_digest": "0" * 64,
        "seed": 0,
        "created": "2026-01-02T03:04:05+00:00",
        "code_version": "0.1.0",
        "libraries": {"keras": "3.15"},
        "metrics": {"new-users": {"ndcg": {"mean": 0.25, "low": 0.125, "high": 0.5}}, "loss": 1.5},
        "scale": {"low": 0.5, "top": 5.0},
        "files": {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.name != "manifest.json"
        },
    }
    write_json(folder / "manifest.json", values | changes)


def write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")


def make_catalogue() -> Catalogue:
    flags = np.arange(ITEMS)[:, None] % (np.arange(GENRES) + 2) == 0
    flags[-3:] = flags[-1]
    return Catalogue(
        item_ids=tuple(f"m{row}" for row in range(ITEMS)),
        titles=tuple(f"Film Nº {row}" for row in range(ITEMS)),
        years=np.array([0 if row % 5 == 0 else 1990 + min(row, 11) for row in range(ITEMS)], dtype=np.int32),
        genre_names=("Action", "Comedy", "Sci-Fi"),
        genres=flags,
    )


def retrieval_towers(rng: np.random.Generator, catalogue: Catalogue) -> tuple[Weights, Weights]:
    ids = normal(rng, ITEMS, WIDTH)
    ids[-3:] = 0  # cold items, embedded from their content
    users = {
        "likes": normal(rng, ITEMS, WIDTH),
        "others": normal(rng, ITEMS, WIDTH),
        **mlp(rng, "deep", 2 * WIDTH + GENRES + 2, HIDDEN, WIDTH),
        **mlp(rng, "taste", GENRES, HIDDEN, WIDTH),
        "recent": normal(rng, ITEMS, HIDDEN),
        "transitions": normal(rng, ITEMS, TRANSITIONS),
        **mlp(rng, "next", SUMMARIES * HIDDEN, WIDTH),
    }
    users["alone"] = normal(np.random.default_rng(7), ITEMS, WIDTH)
    moments = np.random.default_rng(6)
    for feature, size in (("hour", 24), ("weekday", 7), ("device", 2)):
        users[f"moment_{feature}"] = normal(moments, size, WIDTH)
    follows = normal(rng, ITEMS, TRANSITIONS)
    follows[-3:] = 0
    items = {"ids": ids, "follows": follows, **mlp(rng, "content", 2 + GENRES, HIDDEN, WIDTH)}
    items["agreement"] = normal(np.random.default_rng(8), WIDTH, WIDTH)
    settings = {
        "kind": "identity",
        "year_mean": 1995.0,
        "year_scale": 5.0,
        "largest_norm": 9.0,
        "next_largest_norm": 10.0,
    }
    about = {"kind": "taste", "gate": 0.5, "devices": ["tv", "wall"]}
    return Weights(about, users), Weights(settings, items)


def rating_head(rng: np.random.Generator) -> Weights:
    spread = rng.random(WIDTH, dtype=np.float32)
    return Weights(
        {"kind": KIND, "damping": 4.0, "penalty": 6.0},
        {"usual": normal(rng, ITEMS), "axes": np.eye(WIDTH, dtype=np.float32), "spread": spread},
    )


def seed_towers(rng: np.random.Generator, catalogue: Catalogue) -> tuple[Weights, Weights]:
    features = np.column_stack([1990 + np.arange(ITEMS), rng.random(ITEMS), catalogue.genres])
    features[-3:] = features[-1]
    users = {**scaler(GENRES), "item_genres": catalogue.genres, **mlp(rng, "mlp", GENRES, WIDTH)}
    items = {**scaler(2 + GENRES), "features": features, **mlp(rng, "mlp", 2 + GENRES, WIDTH)}
    return weights("genres", users), weights("content", items)


def weights(kind: str, arrays: dict[str, Any]) -> Weights:
    return Weights({"kind": kind}, {name: array.astype(np.float32) for name, array in arrays.items()})


def scaler(width: int) -> dict[str, Floats]:
    return {"mean": np.full(width, 0.5, dtype=np.float32), "scale": np.full(width, 2, dtype=np.float32)}


def mlp(rng: np.random.Generator, name: str, *widths: int) -> dict[str, Floats]:
    arrays = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        arrays[f"{name}_{layer}_kernel"] = normal(rng, inputs, outputs)
        arrays[f"{name}_{layer}_bias"] = normal(rng, outputs)
    return arrays


def normal(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.normal(size=shape).astype(np.float32)


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk: nothing here outlives a power cut."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Path]:
    """Makes a run: `new_run(recipe, seed=0)`."""

    def new(recipe: str = "retrieval", *, seed: int = 0) -> Path:
        return make_run(tmp_path / f"{recipe}-{seed}", recipe, seed=seed)

    return new


@pytest.fixture(params=["retrieval", "seed"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run of each recipe."""
    return make_run(tmp_path / "run", request.param)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Files and description of one generation, as `Store.publish` takes them."""
    return bundle(Run.load(make_run(tmp_path_factory.mktemp("parts"))))


@pytest.fixture(scope="session", params=["retrieval", "seed"])
def loaded_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of each recipe, in memory; nobody changes it."""
    return Run.load(make_run(tmp_path_factory.mktemp("loaded"), request.param))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that nobody has published to yet."""
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, parts: Bundle) -> Path:
    """A generation that no test may leave changed."""
    store = Store(tmp_path_factory.mktemp("whole") / "store")
    return store.folder / "generations" / store.publish(*parts).id


@pytest.fixture
def folder(tmp_path: Path, whole: Path) -> Path:
    """A generation to do damage to."""
    return Path(shutil.copytree(whole, tmp_path / whole.name))


@pytest.fixture
def command(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on the store: status, output, errors."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: object) -> tuple[int, str, str]:
        status = main([*map(str, words), "--store", str(store.folder)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def two(store: Store, parts: Any) -> tuple[str, str]:
    """The ids of two generations in the store."""
    return store.publish(*parts).id, store.publish(*parts).id
