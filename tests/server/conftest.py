"""A small catalogue with random towers, published to a store, and servers over it."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_status import rpc_status

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.columns import Column, Kind
from deepmoviematch.data.features import SUMMARIES
from deepmoviematch.data.rating_head import KIND
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.build import bundle
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.search import batch
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.host.options import ServeOptions
from deepmoviematch.server.host.process import create_server
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.telemetry import logs
from deepmoviematch.v1 import recommender_pb2_grpc as rpc

WIDTH, HIDDEN, TRANSITIONS = 6, 4, 2

FILMS = [
    ("1", "Toy Story", 1995, "Comedy|Animation"),
    ("50", "Star Wars", 1977, "Action|Sci-Fi"),
    ("183", "Alien", 1979, "Horror|Sci-Fi"),
    ("89", "Blade Runner", 1982, "Sci-Fi"),
    ("2571", "Matrix, The", 1999, "Action|Sci-Fi"),
    ("6", "Heat", 1995, "Action"),
    ("7", "Heat", 1986, "Action"),
    ("4973", "Amélie (Fabuleux destin d'Amélie Poulain, Le)", 2001, "Comedy"),
    ("47", "Seven (a.k.a. Se7en)", 1995, "Horror"),
    ("300", "[REC]", 2007, "Horror"),
    ("301", "300", 2007, "Action"),
    ("tt-12", "Schindler's List", 1993, ""),
    ("x" * 60, "A Film With a Long Id", 0, "Comedy"),
    *(
        (f"m{row}", f"Film Number {row}", 1980 + row, "Action|Comedy" if row % 2 else "Horror")
        for row in range(12)
    ),
]


@pytest.fixture(autouse=True, scope="session")
def few_are_ranked_together() -> Iterator[None]:
    """Have the way of many on a small catalogue too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "MANY", 2)
        patch.setattr(batch, "MANY_SCORES", 0)
        yield


def films() -> Catalogue:
    names = ("Action", "Animation", "Comedy", "Horror", "Sci-Fi")
    rows = range(len(FILMS))
    return Catalogue(
        item_ids=tuple(film[0] for film in FILMS),
        titles=tuple(film[1] for film in FILMS),
        years=np.array([film[2] for film in FILMS], dtype=np.int32),
        genre_names=names,
        genres=np.array([[name in film[3].split("|") for name in names] for film in FILMS]),
        columns=(
            Column("average_rating", Kind.NUMBER, tuple(1 + row / 7 if row else None for row in rows)),
            Column("rating_count", Kind.NUMBER, tuple(float(row * row) for row in rows)),
            Column("runtime", Kind.NUMBER, tuple(80.5 + 7 * row % 60 if row % 4 else None for row in rows)),
            Column("adult", Kind.BOOLEAN, tuple((True, False, None)[row % 3] for row in rows)),
            Column(
                "Studio", Kind.TEXT, tuple(("A24", "Warner Bros.", None, "Pixar")[row % 4] for row in rows)
            ),
            Column("tags", Kind.LIST, tuple((("Space", "old"), None, ("heist",))[row % 3] for row in rows)),
        ),
    )


def books(*, genres: int = 0) -> Catalogue:
    """Of another domain: no years, no genres or forty."""
    size = 30
    return Catalogue(
        item_ids=tuple(f"978-{row:04}" for row in range(size)),
        titles=tuple(f"Volume {row}" for row in range(size)),
        years=np.zeros(size, dtype=np.int32),
        genre_names=tuple(f"Shelf {genre}" for genre in range(genres)),
        genres=np.random.default_rng(1).random((size, genres)) < 0.1,
    )


def make_run(
    catalogue: Catalogue,
    *,
    seed: int = 0,
    scale: tuple[float, float] = (0.5, 5.0),
    reads_moments: bool = True,
    of_old: bool = False,
) -> Run:
    """What the trainer would leave, with random weights; `of_old` without what it did not always teach."""
    rng = np.random.default_rng(seed)
    items, genres = len(catalogue), len(catalogue.genre_names)
    users = {
        "likes": _normal(rng, items, WIDTH),
        "others": _normal(rng, items, WIDTH),
        "bag": _normal(rng, items, HIDDEN),
        **_mlp(rng, "deep", 2 * HIDDEN + max(genres, 1) + 2),
        **_mlp(rng, "taste", max(genres, 1)),
        "recent": _normal(rng, items, HIDDEN),
        **_mlp(rng, "next", SUMMARIES * HIDDEN),
    }
    ids = {"ids": _normal(rng, items, WIDTH), **_mlp(rng, "content", 2 + genres)}
    settings = {"kind": "identity", "year_mean": 1995.0, "year_scale": 5.0, "largest_norm": 12.0}
    moments = np.random.default_rng(6)
    for feature, rows in (("hour", 24), ("weekday", 7), ("device", 2)) if reads_moments else ():
        users[f"moment_{feature}"] = _normal(moments, rows, WIDTH)
    rating_head = None
    if not of_old:
        learnt = np.random.default_rng(7)
        users["alone"] = _normal(np.random.default_rng(8), items, WIDTH)
        users["transitions"] = _normal(learnt, items, TRANSITIONS)
        ids["follows"] = _normal(learnt, items, TRANSITIONS)
        ids["agreement"] = _normal(np.random.default_rng(9), WIDTH, WIDTH)
        settings["next_largest_norm"] = 14.0
        rating_head = _rating_head(learnt, items)
    facts = dict.fromkeys(("code_version", "created", "data_digest", "dataset", "recipe"), "tiny")
    return Run(
        provenance=facts
        | {"libraries": {}, "metrics": {}, "seed": seed, "scale": {"low": scale[0], "top": scale[1]}},
        catalogue=catalogue,
        user_tower=Weights(
            {"kind": "taste", "gate": 0.5, "devices": ["tv", "phone"] if reads_moments else []}, users
        ),
        item_tower=Weights(settings, ids),
        popularity=(rng.permutation(items) / items).astype(np.float32),
        reference={"histories": [[[0, 5.0], [3, 2.0]]], "preferences": []},
        rating_head=rating_head,
    )


def _rating_head(rng: np.random.Generator, items: int) -> Weights:
    spread = rng.random(WIDTH, dtype=np.float32)
    return Weights(
        {"kind": KIND, "damping": 4.0, "penalty": 6.0},
        {"usual": 3 + _normal(rng, items), "axes": np.eye(WIDTH, dtype=np.float32), "spread": spread},
    )


def _mlp(rng: np.random.Generator, name: str, inputs: int) -> dict[str, Floats]:
    return {
        f"{name}_0_kernel": _normal(rng, inputs, HIDDEN),
        f"{name}_0_bias": _normal(rng, HIDDEN),
        f"{name}_1_kernel": _normal(rng, HIDDEN, WIDTH),
        f"{name}_1_bias": _normal(rng, WIDTH),
    }


def _normal(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.normal(size=shape).astype(np.float32)


@contextmanager
def serving(current: Any, **options: Any) -> Iterator[SimpleNamespace]:
    """A server over a real socket, with a channel and a stub; it keeps no replies unless it is told to.

    Options are those of `ServeOptions` and what else `create_server` takes.
    """
    settings: dict[str, Any] = {"store": Path(), "port": 0, "kept_replies": 0}
    settings |= {each.name: options.pop(each.name) for each in fields(ServeOptions) if each.name in options}
    wiring = create_server(current, ServeOptions(**settings), **options)
    wiring.start()
    address = f"127.0.0.1:{wiring.port}"
    try:
        with grpc.insecure_channel(address) as channel:
            yield SimpleNamespace(
                wiring=wiring, address=address, channel=channel, stub=rpc.RecommenderServiceStub(channel)
            )
    finally:
        wiring.stop()


def outcome_of(call: Callable[[Any], Any], request: Any) -> SimpleNamespace:
    """How a call ended: `response` or None, `code` by name, `status` or None."""
    try:
        return SimpleNamespace(response=call(request), code="OK", status=None)
    except grpc.RpcError as error:
        ended: Any = error  # its types do not say that it is a grpc.Call too
        return SimpleNamespace(response=None, code=ended.code().name, status=rpc_status.from_call(ended))


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """What a test has the command line configure is gone with it."""
    handlers, level, access = logging.root.handlers[:], logging.root.level, logs._access
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logs._access = access


@pytest.fixture(scope="session")
def outcome() -> Callable[..., SimpleNamespace]:
    """Makes a call that may fail: `outcome(stub.Recommend, request)`."""
    return outcome_of


@pytest.fixture(scope="session")
def publish() -> Callable[..., Generation]:
    """Publishes a generation: `publish(folder, catalogue=films(), seed=0, scale=(0.5, 5), of_old=False)`."""

    def publish_to(folder: Path, catalogue: Catalogue | None = None, **options: Any) -> Generation:
        return Store(folder).publish(*bundle(make_run(catalogue or films(), **options)))

    return publish_to


@pytest.fixture(scope="session")
def hide() -> Callable[[Path], Any]:
    """Makes the generations of a store unreadable as a context: `with hide(folder): ...`."""

    @contextmanager
    def hiding(folder: Path) -> Iterator[None]:
        generations, aside = folder / "generations", folder / "aside"
        generations.rename(aside)
        generations.symlink_to(generations.name)  # which nobody can follow to its end
        yield
        generations.unlink()
        aside.rename(generations)

    return hiding


@pytest.fixture(scope="session")
def catalogues() -> SimpleNamespace:
    """Makes catalogues: `films()`, `books(genres=0)`."""
    return SimpleNamespace(films=films, books=books)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, publish: Callable[..., Generation]) -> Path:
    """A store with the films; nobody changes it."""
    folder = tmp_path_factory.mktemp("films") / "store"
    publish(folder)
    return folder


@pytest.fixture(scope="session")
def generation(store: Path) -> Generation:
    """The films' generation."""
    return Store(store).load()


@pytest.fixture(scope="session")
def recommender(generation: Generation) -> Recommender:
    """Answers from the films' generation."""
    return Recommender(generation)


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """Serves as a context: `with serve(current) as running: running.stub.Recommend(...)`."""
    return serving


@pytest.fixture(scope="session")
def running(recommender: Recommender) -> Iterator[SimpleNamespace]:
    """A server over the films, shared by all tests that do not stop or change it."""
    current = Current()
    current.set(recommender)
    with serving(current) as server:
        server.wiring.health.serve()
        yield server
