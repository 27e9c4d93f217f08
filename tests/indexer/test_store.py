import errno
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from deepmoviematch.indexer.errors import GenerationError, StoreError, WorseError
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store


@pytest.fixture
def publish(store: Store, parts: Any) -> Callable[[], str]:
    """Publishes a generation and returns its id."""
    return lambda: store.publish(*parts).id


def damage(store: Store, name: str) -> None:
    (store.folder / "generations" / name / "vectors.npy").unlink()


def hidden(store: Store) -> set[str]:
    return {path.name for path in store.folder.iterdir()} - {"CURRENT", "generations"}


def test_a_store_is_empty_until_something_is_published(store: Store) -> None:
    assert store.current() is None
    assert store.list() == ()
    with pytest.raises(StoreError, match="must hold a current generation, got none; build one first"):
        store.load()
    assert not store.folder.exists()


def test_a_store_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    store = Store(tmp_path / ("x" * 300))  # longer than a name may be
    with pytest.raises(StoreError, match=r"generations must be readable, got .*File name too long"):
        store.list()


def test_what_is_published_is_current_and_loads(store: Store, publish: Callable[[], str]) -> None:
    name = publish()
    assert store.current() == name == store.load().id == store.load(name).id
    assert (store.folder / "CURRENT").read_text() == f"{name}\n"
    assert hidden(store) == {".lock"}


def test_numbers_grow_and_are_never_used_again(store: Store, publish: Callable[[], str]) -> None:
    names = [publish() for _ in range(4)]
    assert [name[:7] for name in names] == ["g000001", "g000002", "g000003", "g000004"]
    assert store.list() == tuple(names)
    store.rollback(names[0])
    store.gc(keep=1)
    assert publish().startswith("g000005")


def test_the_number_of_a_current_generation_that_was_deleted_is_not_used_again(
    store: Store, publish: Callable[[], str]
) -> None:
    publish()
    shutil.rmtree(store.folder / "generations" / publish())
    assert publish().startswith("g000003")


def test_what_fails_a_check_is_not_published(store: Store, parts: Any, publish: Callable[[], str]) -> None:
    old = publish()
    files, description = parts
    with pytest.raises(GenerationError, match=r"index\.faiss must hold the vectors of vectors\.npy"):
        store.publish({**files, "index.faiss": files["similar.faiss"]}, description)
    assert (store.current(), store.list(), hidden(store)) == (old, (old,), {".lock"})


def test_what_would_be_replaced_is_checked_while_nobody_else_publishes(
    store: Store, parts: Any, publish: Callable[[], str]
) -> None:
    def refuse(replaced: Mapping[str, Any]) -> None:
        with (store.folder / ".lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise WorseError(replaced["id"])

    name = store.publish(*parts, check=refuse).id  # the first replaces nothing
    with pytest.raises(WorseError, match=name):
        store.publish(*parts, check=refuse)
    assert (store.current(), store.list(), hidden(store)) == (name, (name,), {".lock"})


def test_an_unknown_generation_is_refused(store: Store, publish: Callable[[], str]) -> None:
    name = publish()
    for wrong in ("g000009-00000000", "../generations/" + name, "", "CURRENT"):
        with pytest.raises(StoreError, match=f"must hold the generation, got '.*'; it has {name}"):
            store.load(wrong)


def test_a_generation_under_another_name_is_refused(store: Store, publish: Callable[[], str]) -> None:
    name = publish()
    other = "g000007" + name[7:]
    shutil.copytree(store.folder / "generations" / name, store.folder / "generations" / other)
    with pytest.raises(GenerationError, match=f"the folder must be named by the id, got {name}"):
        store.load(other)


def test_what_is_no_generation_is_not_listed(store: Store, publish: Callable[[], str]) -> None:
    name = publish()
    (store.folder / "generations" / "notes").mkdir()
    (store.folder / "generations" / "g000005-00000000").write_text("a file")
    (store.folder / "generations" / "g000006-00000000").symlink_to(name)
    assert store.list() == (name,)


@pytest.mark.parametrize(
    "line", ["", "\n", "../../etc", "g000001-zzzzzzzz", "g000001-00000000\ng", "\udcff", " " * 101]
)
def test_a_broken_pointer_is_refused_and_can_be_mended(
    store: Store, publish: Callable[[], str], line: str
) -> None:
    name = publish()
    (store.folder / "CURRENT").write_text(line, errors="surrogateescape")
    for ask in (store.current, store.load, store.rollback, lambda: store.gc(keep=1)):
        with pytest.raises(StoreError, match=r"CURRENT must hold the id .* name one: rollback ID"):
            ask()
    assert store.rollback(name).id == store.current() == name
    (store.folder / "CURRENT").write_text(line, errors="surrogateescape")
    assert publish() == store.current()


def test_a_pointer_that_is_a_pipe_is_refused_and_can_be_mended(
    store: Store, publish: Callable[[], str]
) -> None:
    name = publish()
    (store.folder / "CURRENT").unlink()
    os.mkfifo(store.folder / "CURRENT")
    with pytest.raises(StoreError, match=r"CURRENT must hold the id of a generation, got prw.* rollback ID"):
        store.current()
    assert store.rollback(name).id == store.current() == name


def test_a_load_follows_the_pointer_if_the_generation_goes_meanwhile(
    store: Store, publish: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = publish(), publish()
    real, asked = Store.current, itertools.count()
    monkeypatch.setattr(Store, "current", lambda self: old if next(asked) == 0 else real(self))
    damage(store, old)
    assert store.load().id == new


def test_rollback_goes_to_the_generation_before(store: Store, publish: Callable[[], str]) -> None:
    first, second, third = publish(), publish(), publish()
    assert store.rollback().id == store.current() == second
    assert store.rollback().id == first
    with pytest.raises(StoreError, match=f"older than {first} to roll back to, got none"):
        store.rollback()
    assert store.rollback(third).id == store.current() == third


def test_rollback_checks_before_it_flips(store: Store, publish: Callable[[], str]) -> None:
    old, new = publish(), publish()
    damage(store, old)
    with pytest.raises(GenerationError, match=r"vectors\.npy is missing"):
        store.rollback()
    assert store.current() == new


def test_gc_keeps_the_newest_and_the_current_one(store: Store, publish: Callable[[], str]) -> None:
    names = [publish() for _ in range(5)]
    store.rollback(names[1])
    assert store.gc(keep=2) == (names[0], names[2])
    assert store.list() == (names[1], names[3], names[4])
    assert store.gc(keep=9) == ()
    assert store.load().id == names[1]
    assert hidden(store) == {".lock"}


def test_gc_removes_damaged_generations_too(store: Store, publish: Callable[[], str]) -> None:
    old, new = publish(), publish()
    damage(store, old)
    assert store.gc(keep=1) == (old,)
    assert store.list() == (new,)


def test_gc_keeps_no_generation_that_does_not_load(store: Store, publish: Callable[[], str]) -> None:
    names = [publish() for _ in range(2)]
    store.rollback(names[0])
    generations = store.folder / "generations"
    shutil.copytree(generations / names[0], generations / "g000009-00000000")  # not its id
    assert store.gc(keep=1) == ("g000009-00000000",)
    assert store.list() == tuple(names)


def test_gc_verifies_no_more_generations_than_it_keeps(
    store: Store, publish: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names, verified = [publish() for _ in range(4)], list[str]()
    load = store.load

    def noted(name: str) -> Generation:
        verified.append(name)
        return load(name)

    monkeypatch.setattr(store, "load", noted)
    assert store.gc(keep=2) == (names[0], names[1])
    assert verified == [names[3], names[2]]


def test_gc_keeps_at_least_one(store: Store) -> None:
    with pytest.raises(StoreError, match="gc must keep at least 1 generation, got 0"):
        store.gc(keep=0)


def test_there_must_be_a_store_to_change(store: Store) -> None:
    for change in (store.rollback, lambda: store.gc(keep=1)):
        with pytest.raises(StoreError, match="must be a store, got none; build a generation first"):
            change()


def test_leftovers_of_the_dead_are_cleared(store: Store, publish: Callable[[], str]) -> None:
    publish()
    (store.folder / ".incoming" / "user_tower").mkdir(parents=True)
    (store.folder / ".outgoing").mkdir()
    publish()
    assert hidden(store) == {".lock"}


@pytest.mark.parametrize(
    ("call", "times"), [("write", 27), ("fsync", 33), ("mkdir", 3), ("rename", 1), ("replace", 1)]
)
def test_a_full_disk_is_an_error_that_leaves_the_old_generation(
    store: Store, publish: Callable[[], str], monkeypatch: pytest.MonkeyPatch, call: str, times: int
) -> None:
    old, real = publish(), getattr(os, call)
    for n in {0, times // 2, times - 1}:
        calls = itertools.count()

        def full(*args: Any, calls: "itertools.count[int]" = calls, n: int = n, **kwargs: Any) -> Any:
            if next(calls) >= n:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        monkeypatch.setattr(os, call, full)
        with pytest.raises(StoreError, match=r"must be writable and have room, got .*No space left"):
            publish()
        monkeypatch.undo()
        assert hidden(store) == {".lock"}
        assert store.load(old).id == old
        assert store.load().id == store.current()


def test_a_store_that_cannot_be_made_is_an_error(tmp_path: Path, parts: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"must be writable and have room, got .*Not a directory"):
        Store(tmp_path / "file" / "store").publish(*parts)


def test_publishers_take_turns_and_readers_always_find_a_whole_generation(store: Store, parts: Any) -> None:
    store.publish(*parts)
    published: list[str] = []
    done = threading.Event()
    seen: list[str] = []

    def write() -> None:
        for _ in range(4):
            published.append(store.publish(*parts).id)
            store.gc(keep=1)

    def read() -> None:
        while not done.is_set():
            seen.append(store.load().id)

    writers = [threading.Thread(target=write) for _ in range(2)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert len(set(published)) == 8
    assert seen == sorted(seen)
    assert store.current() == max(published)


def test_it_is_whole_wherever_a_change_dies(tmp_path: Path, new_run: Callable[..., Path]) -> None:
    script = Path(__file__).parent / "deaths.py"
    outcome = subprocess.run(
        [sys.executable, script, new_run("seed"), tmp_path / "stores"],
        capture_output=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    deaths = json.loads(outcome.stdout)
    assert deaths["publish"] > 80  # each file is opened, written and synced
    assert deaths["first publish"] > 30
    assert deaths["gc"] > 25
    assert deaths["rollback"] > 5
