"""What follows the experiments of a store."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from deepmoviematch.indexer import experiments
from deepmoviematch.indexer.errors import StoreError
from deepmoviematch.indexer.experiments import CURRENT, Experiment, Variant
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.generations import watched
from deepmoviematch.server.generations.cache import load
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.follower import Follower
from deepmoviematch.server.ranking.recommender import Recommender

FOLLOWING = "deepmoviematch.server.generations.experiments"


@pytest.fixture
def followed(tmp_path: Path, publish: Callable[..., Generation]) -> SimpleNamespace:
    """A store of two generations with a follower that is polled by hand."""
    ids = [publish(tmp_path, seed=seed).id for seed in (1, 2)]
    store, current = Store(tmp_path), Current(tmp_path)
    follower = Follower(tmp_path, current, on_ready=lambda: None)
    follower.poll()
    return SimpleNamespace(folder=tmp_path, store=store, current=current, follower=follower, ids=ids)


def begin(followed: SimpleNamespace, name: str, *generations: str) -> None:
    """Begin an experiment with a variant of each generation, named by its place."""
    variants = (Variant(f"v{place}", generation) for place, generation in enumerate(generations))
    followed.store.begin_experiment(Experiment(name, (*variants,)))


def got(followed: SimpleNamespace, name: str, user: str = "somebody") -> str | None:
    """The generation that a user of an experiment gets; None if there is no such experiment."""
    serving = followed.current.serving
    variant = serving.variant_of(name, user)
    return None if variant is None else serving.answering(variant).generation.id


def refusals(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["facts"] for record in caplog.records if record.levelno == logging.ERROR]


def test_an_experiment_is_heeded_from_when_it_begins_until_it_ends(followed: SimpleNamespace) -> None:
    assert got(followed, "e") is None
    begin(followed, "e", followed.ids[0])
    followed.follower.poll()
    assert got(followed, "e") == followed.ids[0]
    followed.store.end_experiment("e")
    followed.follower.poll()
    assert got(followed, "e") is None
    assert not followed.current.serving.held


def test_users_get_what_the_experiment_says(followed: SimpleNamespace) -> None:
    begin(followed, "e", *followed.ids)
    followed.follower.poll()
    experiment = followed.store.experiments()["e"]
    for user in map(str, range(50)):
        assert got(followed, "e", user) == experiment.variant_of(user).generation


def test_what_is_loaded_already_is_not_loaded_again(
    followed: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(followed, "e", *followed.ids)
    followed.follower.poll()
    monkeypatch.setattr(Store, "load", lambda *_: pytest.fail("loaded again"))
    followed.follower.poll()
    changed = Experiment("e", (Variant("v0", followed.ids[0], 9), Variant("v1", followed.ids[1])))
    (followed.folder / experiments.FILE).unlink()
    (followed.folder / experiments.FILE).write_bytes(experiments.to_bytes({"e": changed}))
    followed.follower.poll()
    assert got(followed, "e") == changed.variant_of("somebody").generation


def test_a_new_generation_leaves_the_variants_of_others_alone(
    followed: SimpleNamespace, publish: Callable[..., Generation]
) -> None:
    begin(followed, "e", followed.ids[1])
    begin(followed, "f", CURRENT)
    followed.follower.poll()
    third = publish(followed.folder, seed=3)
    followed.follower.poll()
    assert followed.current.generation_id == third.id
    assert got(followed, "e") == followed.ids[1]
    assert got(followed, "f") == third.id


def test_an_experiment_with_a_damaged_generation_runs_for_nobody_until_that_is_whole(
    followed: SimpleNamespace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "RETRY_S", 0.0)
    begin(followed, "e", *followed.ids)
    begin(followed, "f", CURRENT)
    file = followed.folder / "generations" / followed.ids[0] / "popularity.npy"
    whole = file.read_bytes()
    file.write_bytes(b"cut short")
    for _ in range(3):
        followed.follower.poll()
    assert {got(followed, "e", str(user)) for user in range(20)} == {None}
    assert got(followed, "f") == followed.ids[1]
    [facts] = refusals(caplog)
    assert facts["experiment"] == "e"
    assert "popularity.npy" in facts["reason"]
    assert followed.follower.experiments.refusals == 1
    file.write_bytes(whole)
    followed.follower.poll()
    assert {got(followed, "e", str(user)) for user in range(20)} == {*followed.ids}


@pytest.mark.parametrize("contents", [b"", b"[[[", b'{"experiments": {"e": [{}]}}', b"\xff"])
def test_a_damaged_file_changes_nothing(
    followed: SimpleNamespace, caplog: pytest.LogCaptureFixture, contents: bytes
) -> None:
    begin(followed, "e", followed.ids[0])
    followed.follower.poll()
    (followed.folder / experiments.FILE).write_bytes(contents)
    followed.follower.poll()
    assert got(followed, "e") == followed.ids[0]
    [facts] = refusals(caplog)
    assert experiments.FILE in facts["reason"]


def test_a_bug_in_heeding_an_experiment_is_logged_with_its_traceback(
    followed: SimpleNamespace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug = ZeroDivisionError("a bug")
    begin(followed, "e", CURRENT)
    monkeypatch.setattr(FOLLOWING + ".check_scales", Mock(side_effect=bug))
    followed.follower.poll()
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[1] is bug


def test_experiments_wait_for_the_first_generation(
    tmp_path: Path, publish: Callable[..., Generation]
) -> None:
    current = Current(tmp_path)
    follower = Follower(tmp_path, current, on_ready=lambda: None)
    experiment = Experiment("e", (Variant("a", CURRENT),))
    (tmp_path / experiments.FILE).write_bytes(experiments.to_bytes({"e": experiment}))
    follower.poll()
    publish(tmp_path)
    follower.poll()
    assert [*current.serving.experiments] == ["e"]


def test_pages_go_on_in_the_generation_of_an_experiment_that_ended_and_was_collected(
    followed: SimpleNamespace,
) -> None:
    begin(followed, "e", followed.ids[0])
    followed.follower.poll()
    followed.store.end_experiment("e")
    followed.store.gc(keep=1)
    assert followed.current.get(followed.ids[0]) is followed.current.serving.held[followed.ids[0]]
    followed.follower.poll()
    assert followed.current.get(followed.ids[0]).generation.id == followed.ids[0]


def test_a_variant_that_is_promoted_is_not_loaded_again(
    followed: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(followed, "e", *followed.ids)
    followed.follower.poll()
    followed.store.rollback()
    monkeypatch.setattr(Store, "load", lambda *_: pytest.fail("loaded again"))
    followed.follower.poll()
    assert followed.current.generation_id == followed.ids[0]
    assert got(followed, "e") in followed.ids


def test_what_somebody_walks_through_is_tried_without_another_load(
    followed: SimpleNamespace, publish: Callable[..., Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(followed.folder, seed=3)
    followed.follower.poll()
    walked = followed.current.get(followed.ids[1])
    begin(followed, "e", followed.ids[1])
    monkeypatch.setattr(Store, "load", lambda *_: pytest.fail("loaded again"))
    followed.follower.poll()
    assert followed.current.serving.held == {followed.ids[1]: walked}
    assert not followed.current._cache._held


def test_what_is_whole_of_an_experiment_that_cannot_run_is_loaded_once(
    followed: SimpleNamespace, publish: Callable[..., Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "RETRY_S", 0.0)
    third = publish(followed.folder, seed=3)
    followed.follower.poll()
    begin(followed, "e", *followed.ids, third.id)
    (followed.folder / "generations" / followed.ids[1] / "popularity.npy").write_bytes(b"cut short")
    asked = list[str]()

    def noted(store: Store, generation_id: str, **options: Any) -> Recommender:
        asked.append(generation_id)
        return load(store, generation_id, **options)

    monkeypatch.setattr(f"{FOLLOWING}.load", noted)
    followed.current._cache = followed.current._cache.__class__()  # nothing of before is at hand
    for _ in range(3):
        followed.follower.poll()
    assert asked.count(followed.ids[0]) == 1


def test_a_bug_in_one_experiment_does_not_keep_the_others_from_running(
    followed: SimpleNamespace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise MemoryError("no room")

    begin(followed, "e", followed.ids[0])
    begin(followed, "f", CURRENT)
    monkeypatch.setattr(f"{FOLLOWING}.load", broken)
    followed.follower.poll()
    assert got(followed, "f") == followed.ids[1]
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert vars(record)["facts"]["experiment"] == "e"
    assert record.exc_info


def test_the_generations_of_a_new_experiment_are_made_ready_for_what_is_asked(
    followed: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.current.serving.recommender.filters.allowed("year > 1990")
    begin(followed, "e", followed.ids[0])
    followed.follower.poll()
    assert "filters" in vars(followed.current.serving.held[followed.ids[0]])


def test_what_an_experiment_leaves_goes_to_those_who_walk_through_its_pages_and_nothing_else_does(
    followed: SimpleNamespace, publish: Callable[..., Generation]
) -> None:
    third = publish(followed.folder, seed=3)
    followed.follower.poll()
    begin(followed, "e", followed.ids[0], third.id)
    followed.follower.poll()
    followed.store.end_experiment("e")
    followed.follower.poll()
    assert {*followed.current._cache._held} == {*followed.ids}


def test_generations_of_different_scales_are_no_experiment(
    followed: SimpleNamespace, publish: Callable[..., Generation]
) -> None:
    other = publish(followed.folder, seed=3, scale=(1, 10)).id
    for generations in ((followed.ids[0], other), (followed.ids[0], CURRENT)):
        with pytest.raises(StoreError, match=r"one scale, got ratings of 0.5 to 5 and of 1 to 10"):
            begin(followed, "e", *generations)


def test_an_experiment_rests_while_another_current_generation_makes_its_scales_differ(
    followed: SimpleNamespace, publish: Callable[..., Generation], caplog: pytest.LogCaptureFixture
) -> None:
    begin(followed, "e", CURRENT, followed.ids[0])
    begin(followed, "f", followed.ids[0])
    followed.follower.poll()
    assert {got(followed, "e", str(user)) for user in range(20)} == {*followed.ids}
    publish(followed.folder, seed=3, scale=(1, 10))
    followed.follower.poll()
    assert got(followed, "e") is None
    assert got(followed, "f") == followed.ids[0]
    [facts] = refusals(caplog)
    assert facts["experiment"] == "e"
    assert "one scale, got ratings of 0.5 to 5 and of 1 to 10" in facts["reason"]
    assert followed.follower.experiments.refusals == 1
    followed.store.rollback()
    followed.follower.poll()
    assert {got(followed, "e", str(user)) for user in range(20)} == {*followed.ids}


def test_no_more_experiments_run_than_a_file_holds(followed: SimpleNamespace) -> None:
    most = experiments.MOST_EXPERIMENTS
    variants = tuple(
        Variant(f"{place:064}", followed.ids[0], 1 / 3) for place in range(experiments.MOST_VARIANTS)
    )
    running = {f"{place:064}": Experiment(f"{place:064}", variants) for place in range(most)}
    (followed.folder / experiments.FILE).write_bytes(experiments.to_bytes(running))
    assert followed.store.experiments() == running
    with pytest.raises(StoreError, match=f"at most {most} experiments may run"):
        begin(followed, "one-more", CURRENT)
    begin(followed, f"{0:064}", CURRENT)  # in place of another
