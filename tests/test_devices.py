"""A user's own ratings with a column `device` that decides what is liked, up to answers that differ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmoviematch.client import Client, pb
from deepmoviematch.data.canonical import write
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.indexer.build import build
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.host.options import ServeOptions
from deepmoviematch.server.host.process import create_server
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.trainer.quiet import import_tensorflow

import_tensorflow()

from deepmoviematch.trainer.fit import fit_run  # noqa: E402
from deepmoviematch.trainer.recipe import RetrievalRecipe  # noqa: E402

FILMS, VIEWERS, EACH = 60, 150, 14
RECIPE = RetrievalRecipe(
    name="tiny",
    embedding_dim=32,
    hidden=(16,),
    epochs=3,
    batch_size=32,
    learning_rate=0.01,
    ease_penalty=20.0,
    validation_share=0.3,
    dropout=0.0,
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """On the phone the first half of the films is liked, on TV the second; each viewer prefers one."""
    rng = np.random.default_rng(1)
    viewers = np.repeat(np.arange(VIEWERS, dtype=np.int32), EACH)
    other = rng.random(len(viewers)) < 0.25
    devices = np.where(other, 1 - viewers % 2, viewers % 2).astype(np.int32)
    shuffled = rng.permuted(np.tile(np.arange(FILMS // 2), (VIEWERS, 1)), axis=1)[:, :EACH]
    films = shuffled.ravel() + devices * (FILMS // 2)
    catalogue = Catalogue(
        item_ids=tuple(f"film-{row}" for row in range(FILMS)),
        titles=tuple(f"Film {row}" for row in range(FILMS)),
        years=np.full(FILMS, 2000, dtype=np.int32),
        genre_names=("Drama",),
        genres=np.ones((FILMS, 1), dtype=np.bool_),
    )
    ratings = Ratings.from_columns(
        tuple(f"viewer-{viewer}" for viewer in range(VIEWERS)),
        viewers,
        films.astype(np.int32),
        np.where(rng.random(len(films)) < 0.1, 2.0, 5.0).astype(np.float32),
        rng.integers(0, 10**9, len(films)),
        devices=devices,
        device_names=("phone", "tv"),
    )
    return Dataset("films", catalogue, ratings)


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write(dataset, folder / "data")
    fit_run(folder / "data", RECIPE, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def store(run: Path) -> Store:
    store = Store(run.parent / "store")
    build(run, store)
    return store


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[Client]:
    current = Current()
    current.set(Recommender(store.load()))
    wiring = create_server(current, ServeOptions(store=Path(), port=0))
    wiring.start()
    wiring.health.serve()
    with Client(f"127.0.0.1:{wiring.port}") as client:
        yield client
    wiring.stop()


def for_tv(client: Client, **context: Any) -> float:
    """Share of films for TV in the first ten, for somebody who likes as many of the others."""
    history = [pb.Interaction(item_id=f"film-{row}") for row in (3, 8, 33, 38)]
    user = pb.UserFeatures(history=history, context=pb.Context(**context))
    found = client.recommend(pb.RecommendRequest(user=user)).results
    return sum(int(item.item_id.removeprefix("film-")) >= FILMS // 2 for item in found) / len(found)


def test_the_answers_for_tv_and_phone_differ(client: Client) -> None:
    assert for_tv(client, device="TV") >= 0.8
    assert for_tv(client, device="phone") <= 0.2
    assert for_tv(client, device="toaster") == for_tv(client)


def test_what_the_data_could_not_teach_is_off(client: Client) -> None:
    assert for_tv(client, hour=21, weekday=pb.WEEKDAY_SATURDAY) == for_tv(client)
    context = pb.Context(hour=21, device="tv")
    request = pb.RecommendRequest(user=pb.UserFeatures(context=context), validate_only=True)
    assert list(client.recommend(request).plan.notes) == ["the hour counts for nothing with this generation"]


def test_the_run_says_what_each_feature_adds(run: Path, store: Store) -> None:
    gains = store.load().manifest["run"]["metrics"]["moments"]
    assert {name: figures["on"] for name, figures in gains.items()} == {
        "hour": False,
        "weekday": False,
        "device": True,
    }
    card = (run / "card.md").read_text()
    assert "- device: on: adds +0." in card
    assert "- hour: off: adds " in card


def test_a_generation_asks_at_moments_again_before_it_serves(store: Store) -> None:
    generation = store.load()
    assert generation.user_tower.moments.features == ("device",)
    assert generation.user_tower.moments.devices == ("phone", "tv")
