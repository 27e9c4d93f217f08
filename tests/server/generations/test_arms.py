"""What follows the experiments of a store."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepmoviematch.indexer import experiments
from deepmoviematch.indexer.experiments import CURRENT, Experiment, Variant
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.generations import current as current_module
from deepmoviematch.server.generations.current import Current, Follower


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
    """The generation that a user of an experiment gets; CURRENT if there is no such experiment."""
    arm = followed.current.arms.find(name, user)
    if arm is None:
        return CURRENT
    return None if arm.recommender is None else arm.recommender.generation.id


def refusals(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["facts"] for record in caplog.records if record.levelno == logging.ERROR]


def test_an_experiment_is_heeded_from_when_it_begins_until_it_ends(followed: SimpleNamespace) -> None:
    assert got(followed, "e") == CURRENT
    begin(followed, "e", followed.ids[0])
    followed.follower.poll()
    assert got(followed, "e") == followed.ids[0]
    followed.store.end_experiment("e")
    followed.follower.poll()
    assert got(followed, "e") == CURRENT


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
    assert got(followed, "f") is None


def test_an_experiment_with_a_damaged_generation_runs_for_nobody_until_that_is_whole(
    followed: SimpleNamespace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current_module, "RETRY_S", 0.0)
    begin(followed, "e", *followed.ids)
    begin(followed, "f", CURRENT)
    file = followed.folder / "generations" / followed.ids[0] / "popularity.npy"
    whole = file.read_bytes()
    file.write_bytes(b"cut short")
    for _ in range(3):
        followed.follower.poll()
    assert {got(followed, "e", str(user)) for user in range(20)} == {CURRENT}
    assert got(followed, "f") is None
    [facts] = refusals(caplog)
    assert facts["experiment"] == "e"
    assert "popularity.npy" in facts["reason"]
    assert followed.follower.refusals == 1
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
    assert current.arms.names == ["e"]


def test_pages_go_on_in_the_generation_of_an_experiment_that_ended_and_was_collected(
    followed: SimpleNamespace,
) -> None:
    begin(followed, "e", followed.ids[0])
    followed.follower.poll()
    followed.store.end_experiment("e")
    followed.store.gc(keep=1)
    followed.follower.poll()
    assert followed.current.get(followed.ids[0]).generation.id == followed.ids[0]
