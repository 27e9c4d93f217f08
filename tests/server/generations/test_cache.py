"""Generations that are no longer current, for those who walk through their pages."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.errors import GenerationGoneError, GenerationLoadingError
from deepmoviematch.server.generations import cache as cache_module
from deepmoviematch.server.generations.cache import SIZE, GenerationCache
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.ranking.recommender import Recommender


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, publish: Callable[..., Generation]) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "store"
    for seed in range(SIZE + 2):
        publish(folder, seed=seed)
    return folder


@pytest.fixture(scope="module")
def generations(published: Path) -> list[Generation]:
    store = Store(published)
    return [store.load(name) for name in store.list()]


@pytest.fixture
def store(published: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(published, tmp_path / "store")


def test_a_generation_that_is_replaced_stays_at_hand(generations: list[Generation]) -> None:
    current = Current()
    recommenders = [Recommender(generation) for generation in generations]
    for recommender in recommenders:
        current.set(recommender)
        assert current.serving.recommender is current.get(recommender.generation.id) is recommender
    for recommender in recommenders[-SIZE - 1 :]:
        assert current.get(recommender.generation.id) is recommender
    with pytest.raises(GenerationGoneError, match=f"generation {generations[0].id} .* is there no more"):
        current.get(generations[0].id)


def test_the_generation_that_was_not_asked_for_the_longest_makes_way(generations: list[Generation]) -> None:
    cache = GenerationCache()
    for generation in generations[:SIZE]:
        cache.put(Recommender(generation))
    cache.get(generations[0].id)
    cache.put(Recommender(generations[SIZE]))
    assert cache.get(generations[0].id).generation is generations[0]
    with pytest.raises(GenerationGoneError):
        cache.get(generations[1].id)


def test_what_the_store_has_is_loaded_once_and_outlives_it(
    store: Path, generations: list[Generation]
) -> None:
    cache = GenerationCache(Store(store))
    loaded = cache.get(generations[0].id)
    assert loaded.generation.id == generations[0].id
    shutil.rmtree(store / "generations" / generations[0].id)
    assert cache.get(generations[0].id) is loaded
    for generation in generations[1:]:
        cache.get(generation.id)
    with pytest.raises(GenerationGoneError):
        cache.get(generations[0].id)


def test_a_damaged_generation_is_as_good_as_gone_until_it_is_whole(
    store: Path,
    generations: list[Generation],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = store / "generations" / generations[0].id / "popularity.npy"
    whole = file.read_bytes()
    file.write_bytes(b"cut short")
    monkeypatch.setattr(cache_module, "RETRY_S", 0.0)
    cache = GenerationCache(Store(store))
    with pytest.raises(GenerationGoneError):
        cache.get(generations[0].id)
    assert "popularity.npy" in vars(caplog.records[-1])["facts"]["reason"]
    file.write_bytes(whole)
    assert cache.get(generations[0].id).generation.id == generations[0].id


def test_a_damaged_generation_is_left_alone_for_a_while_whoever_asks(
    store: Path,
    generations: list[Generation],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (store / "generations" / generations[0].id / "popularity.npy").write_bytes(b"cut short")
    current = Current(store)
    for _ in range(3):
        with pytest.raises(GenerationGoneError):
            current.get(generations[0].id)
        monkeypatch.setattr(Store, "load", lambda *_: pytest.fail("loaded again"))
    assert len(caplog.records) == current.refusals == 1


def test_a_store_that_cannot_be_listed_is_said_once_and_asked_again(
    store: Path,
    generations: list[Generation],
    hide: Callable[[Path], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = GenerationCache(Store(store))
    with hide(store):
        for _ in range(3):
            with pytest.raises(GenerationLoadingError):
                cache.get(generations[0].id)
    assert len(caplog.records) == cache.refusals == 1
    assert cache.get(generations[0].id).generation.id == generations[0].id


def test_generations_are_loaded_one_at_a_time_and_nobody_waits(
    store: Path, generations: list[Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    load = cache_module.load

    def slowly(store: Store, generation_id: str) -> Recommender:
        begun.set()
        assert go_on.wait(60)
        return load(store, generation_id)

    monkeypatch.setattr(cache_module, "load", slowly)
    cache = GenerationCache(Store(store))
    held = Recommender(generations[2])
    cache.put(held)
    loader = threading.Thread(target=cache.get, args=(generations[0].id,))
    loader.start()
    assert begun.wait(60)
    for generation in generations[:2]:
        with pytest.raises(GenerationLoadingError, match="try again in a moment"):
            cache.get(generation.id)
    assert cache.get(generations[2].id) is held
    go_on.set()
    loader.join()
    assert cache.get(generations[0].id).generation.id == generations[0].id
