"""Generations that are no longer current, for those who walk through their pages."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

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


def test_a_damaged_generation_is_as_good_as_gone(store: Path, generations: list[Generation]) -> None:
    (store / "generations" / generations[0].id / "popularity.npy").write_bytes(b"cut short")
    with pytest.raises(GenerationGoneError):
        GenerationCache(Store(store)).get(generations[0].id)


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
