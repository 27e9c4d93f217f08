import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.errors import NotReadyError
from deepmoviematch.server.filtering import fields as fields_module
from deepmoviematch.server.generations import follower as follower_module, watched
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.follower import Follower
from deepmoviematch.server.ranking import recommender as recommender_module
from deepmoviematch.server.ranking.question import Listing
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.v1 import recommender_pb2 as pb


@pytest.fixture
def followed(tmp_path: Path) -> SimpleNamespace:
    """An empty store with a follower that is polled by hand."""
    folder, current, ready = tmp_path / "store", Current(), []
    folder.mkdir()
    follower = Follower(folder, current, on_ready=lambda: ready.append(current.generation_id))
    return SimpleNamespace(folder=folder, current=current, follower=follower, ready=ready)


def refusals(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["facts"] for record in caplog.records if record.levelno == logging.ERROR]


def damage(folder: Path, generation: Generation) -> None:
    (folder / "generations" / generation.id / "popularity.npy").write_bytes(b"cut short")


def test_an_empty_store_is_waited_for(followed: SimpleNamespace, publish: Callable[..., Generation]) -> None:
    followed.follower.poll()
    assert followed.follower.refusals == 0
    with pytest.raises(NotReadyError, match="no generation is loaded yet"):
        _ = followed.current.serving
    first = publish(followed.folder)
    followed.follower.poll()
    assert followed.current.serving.recommender.generation.id == first.id
    assert followed.ready == [first.id]


def test_a_new_generation_replaces_the_old_one_and_a_rollback_undoes_it(
    followed: SimpleNamespace, publish: Callable[..., Generation]
) -> None:
    first, second = publish(followed.folder, seed=1), publish(followed.folder, seed=2)
    followed.follower.poll()
    Store(followed.folder).rollback()
    followed.follower.poll()
    assert followed.ready == [second.id, first.id]


def test_a_rollback_to_what_is_in_memory_loads_nothing_and_keeps_one_of_it(
    followed: SimpleNamespace, publish: Callable[..., Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(followed.folder, seed=1)
    followed.follower.poll()
    first = followed.current.serving.recommender
    second = publish(followed.folder, seed=2)
    followed.follower.poll()
    followed.current.serving.recommender.filters.allowed("year > 1990")
    Store(followed.folder).rollback()
    monkeypatch.setattr(Store, "load", lambda *_: pytest.fail("loaded again"))
    followed.follower.poll()
    assert followed.current.serving.recommender is first
    assert "filters" in vars(first)  # as those who ask are used to
    assert {*followed.current._cache._held} == {second.id}


def test_what_is_loaded_already_is_not_loaded_again(
    followed: SimpleNamespace, publish: Callable[..., Generation]
) -> None:
    publish(followed.folder)
    followed.follower.poll()
    loaded = followed.current.serving.recommender
    followed.follower.poll()
    pointer = followed.folder / "CURRENT"
    shutil.copy(pointer, pointer.with_suffix(".new"))
    pointer.with_suffix(".new").replace(pointer)
    followed.follower.poll()
    assert followed.current.serving.recommender is loaded


def test_what_was_asked_for_before_is_ready_in_the_next_generation(
    followed: SimpleNamespace, publish: Callable[..., Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(recommender: Recommender, filter_text: str) -> None:
        recommender.filters.allowed(filter_text)
        recommender.find("heat", Listing(10))

    publish(followed.folder, seed=1)
    followed.follower.poll()
    asked(followed.current.serving.recommender, "year > 1990")
    publish(followed.folder, seed=2)
    followed.follower.poll()
    monkeypatch.setattr(recommender_module, "Titles", lambda *_: pytest.fail("made for a request"))
    monkeypatch.setattr(fields_module, "Numbers", lambda *_: pytest.fail("made for a request"))
    asked(followed.current.serving.recommender, "year > 1991")


def test_a_bad_generation_is_refused_once_while_the_old_one_serves_on(
    followed: SimpleNamespace,
    publish: Callable[..., Generation],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watched, "RETRY_S", 0.0)
    good = publish(followed.folder, seed=1)
    followed.follower.poll()
    bad = publish(followed.folder, seed=2)
    damage(followed.folder, bad)
    for _ in range(3):
        followed.follower.poll()
    assert followed.current.serving.recommender.generation.id == good.id
    [facts] = refusals(caplog)
    assert (facts["generation"], facts["serving"]) == (bad.id, good.id)
    assert "popularity.npy" in facts["reason"]


def test_a_refused_generation_serves_once_it_is_whole(
    followed: SimpleNamespace, publish: Callable[..., Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "RETRY_S", 0.0)
    generation = publish(followed.folder)
    file = followed.folder / "generations" / generation.id / "popularity.npy"
    whole = file.read_bytes()
    damage(followed.folder, generation)
    followed.follower.poll()
    file.write_bytes(whole)
    followed.follower.poll()
    assert followed.ready == [generation.id]


def test_a_refused_generation_is_left_alone_for_a_while(
    followed: SimpleNamespace, publish: Callable[..., Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(followed.folder, publish(followed.folder))
    followed.follower.poll()
    monkeypatch.setattr(Store, "load", lambda *_: pytest.fail("loaded again"))
    followed.follower.poll()


@pytest.mark.parametrize("pointer", [b"nonsense\n", b"g000009-00000000\n", b"\xff"])
def test_a_pointer_to_nothing_is_refused(
    followed: SimpleNamespace,
    publish: Callable[..., Generation],
    caplog: pytest.LogCaptureFixture,
    pointer: bytes,
) -> None:
    good = publish(followed.folder)
    followed.follower.poll()
    (followed.folder / "CURRENT").write_bytes(pointer)
    followed.follower.poll()
    assert followed.current.serving.recommender.generation.id == good.id
    assert len(refusals(caplog)) == 1


def test_a_pointer_that_vanishes_is_refused_once_while_the_generation_serves_on(
    followed: SimpleNamespace,
    publish: Callable[..., Generation],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watched, "RETRY_S", 0.0)
    good = publish(followed.folder)
    followed.follower.poll()
    (followed.folder / "CURRENT").unlink()
    for _ in range(3):
        followed.follower.poll()
    assert followed.current.serving.recommender.generation.id == good.id
    [facts] = refusals(caplog)
    assert facts["reason"].endswith("must hold a current generation, got none; name one: rollback ID")
    assert followed.follower.refusals == 1


def test_a_start_without_a_pointer_begins_with_the_newest_generation(
    followed: SimpleNamespace, publish: Callable[..., Generation], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (publish(followed.folder, seed=seed) for seed in range(2))
    (followed.folder / "CURRENT").unlink()
    followed.follower.poll()
    assert followed.ready == [second.id]
    assert len(refusals(caplog)) == followed.follower.refusals == 1
    Store(followed.folder).rollback(first.id)
    followed.follower.poll()
    assert followed.ready == [second.id, first.id]


def test_a_new_generation_is_picked_up_under_load_without_a_failed_call(
    followed: SimpleNamespace,
    publish: Callable[..., Generation],
    serve: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower_module, "POLL_S", 0.01)
    generations = [publish(followed.folder, seed=1).id]
    followed.follower.poll()
    followed.follower.start()
    request = pb.BatchRecommendRequest(requests=[pb.RecommendRequest()] * 3)
    seen: list[str] = []
    with serve(followed.current) as running:
        while len(generations) < 4 or seen[-1] != generations[-1]:
            if seen and seen[-1] == generations[-1]:
                generations.append(publish(followed.folder, seed=len(generations) + 1).id)
            responses = running.stub.BatchRecommend(request, timeout=10).responses
            [generation_id] = {each.metadata.generation_id for each in responses}
            seen.append(generation_id)
    followed.follower.stop()
    assert list(dict.fromkeys(seen)) == generations


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="threads have no clocks here")
def test_what_a_load_takes_is_known_before_it_ends(
    tmp_path: Path, publish: Callable[..., Generation]
) -> None:
    publish(tmp_path)
    taken, go_on = threading.Event(), threading.Event()

    def load_for_long() -> None:
        while time.thread_time() < 0.05:
            pass
        taken.set()
        go_on.wait()

    follower = Follower(tmp_path, Current(), on_ready=load_for_long)
    assert follower.thread_s() == 0
    follower.start()
    taken.wait()
    assert follower.thread_s() >= 0.05
    go_on.set()
    follower.stop()
    assert follower.thread_s() >= 0.05


def test_a_start_with_a_damaged_generation_begins_with_the_one_before(
    followed: SimpleNamespace,
    publish: Callable[..., Generation],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watched, "RETRY_S", 0.0)
    first, second, third, _ = (publish(followed.folder, seed=seed) for seed in range(4))
    Store(followed.folder).rollback(third.id)  # away from the fourth, which must not come back
    whole = (followed.folder / "generations" / third.id / "popularity.npy").read_bytes()
    for generation in (second, third):
        damage(followed.folder, generation)
    followed.follower.poll()
    assert followed.current.serving.recommender.generation.id == first.id
    assert [facts["generation"] for facts in refusals(caplog)] == [third.id]
    (followed.folder / "generations" / third.id / "popularity.npy").write_bytes(whole)
    followed.follower.poll()
    assert followed.ready == [first.id, third.id]


def test_a_store_that_cannot_be_listed_is_tried_again(
    followed: SimpleNamespace,
    publish: Callable[..., Generation],
    hide: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(watched, "RETRY_S", 0.0)
    generation = publish(followed.folder)
    with hide(followed.folder):
        followed.follower.poll()
    [refusal] = refusals(caplog)
    assert "generations must be readable, got " in refusal["reason"]
    assert not caplog.records[-1].exc_info
    followed.follower.poll()
    assert followed.ready == [generation.id]


def test_a_start_without_any_whole_generation_waits(
    followed: SimpleNamespace, publish: Callable[..., Generation]
) -> None:
    for seed in range(2):
        damage(followed.folder, publish(followed.folder, seed=seed))
    followed.follower.poll()
    assert followed.ready == []
