"""Cuts the power at every step of a change to a store, and looks at what is left.

    python deaths.py RUN FOLDER

A change is made in a forked child, whose n-th file-system call kills it, for every
n until the change gets through. A child killed at a write dies twice: before the
write and in the middle of it. Prints the number of deaths of each change as JSON.
"""

import itertools
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from deepmoviematch.indexer.build import bundle
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.store import Store

Change: TypeAlias = Callable[[Store], object]
CALLS = ("open", "write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir")
SURVIVED, DIED, DIED_AT_WRITE = 0, 77, 78


def main() -> None:
    files, description = bundle(Run.load(Path(sys.argv[1])))
    folder = Path(sys.argv[2])

    def publish(store: Store) -> None:
        store.publish(files, description)

    deaths = {
        "publish": next_publish(Store(folder / "next"), publish),
        "first publish": first_publish(Store(folder / "first"), publish),
        "rollback": rollback(Store(folder / "rollback"), publish),
        "gc": gc(Store(folder / "gc"), publish),
    }
    print(json.dumps(deaths))


def first_publish(store: Store, publish: Change) -> int:
    """Most of it goes as the next one does, so only its first and last steps are tried."""
    publish(store)
    files = sum(path.is_file() for path in store.folder.rglob("*"))
    steps = itertools.chain(range(1, 15), itertools.count(3 * files))
    count = 0
    for _ in deaths(lambda: publish(store), before=lambda: shutil.rmtree(store.folder), steps=steps):
        count += 1
        assert_whole(store)
        publish(store)
        assert store.current() == store.list()[-1]
        assert_clean(store)
    return count


def next_publish(store: Store, publish: Change) -> int:
    publish(store)
    count = 0
    for _ in deaths(lambda: publish(store), before=lambda: store.gc(keep=1)):
        count += 1
        assert_whole(store)
        assert store.current() in (store.list()[0], store.list()[-1])
        publish(store)
        assert store.current() == store.list()[-1]
        assert 2 <= len(store.list()) <= 3
        assert_clean(store)
    return count


def rollback(store: Store, publish: Change) -> int:
    publish(store)
    publish(store)
    old, new = store.list()
    count = 0
    for _ in deaths(store.rollback, before=lambda: store.rollback(new)):
        count += 1
        assert_whole(store)
        assert store.current() in (old, new)
        assert store.list() == (old, new)
        store.rollback(old)
        assert_clean(store)
    assert store.current() == old
    return count


def gc(store: Store, publish: Change) -> int:
    publish(store)
    count = 0
    for _ in deaths(lambda: store.gc(keep=1), before=lambda: publish(store)):
        count += 1
        assert_whole(store)
        assert store.current() == store.list()[-1]
        store.gc(keep=1)
        assert store.list() == (store.current(),)
        assert_clean(store)
    return count


def assert_whole(store: Store) -> None:
    """Every generation that a reader can come across loads, the current one among them."""
    assert store.current() is None or store.current() in store.list()
    for name in store.list():
        store.load(name)


def assert_clean(store: Store) -> None:
    names = {path.name for path in store.folder.iterdir()}
    assert names == {"CURRENT", ".lock", "generations"}, names
    assert {path.name for path in (store.folder / "generations").iterdir()} == set(store.list())


def deaths(
    change: Callable[[], object], *, before: Callable[[], object], steps: Iterable[int] | None = None
) -> Iterator[None]:
    """Comes back after each death of `change`, at every call or those in `steps`, until it survives."""
    for n in steps or itertools.count(1):
        before()
        status = run_child(change, n)
        if status == SURVIVED:
            return
        yield
        if status == DIED_AT_WRITE:
            before()
            run_child(change, n, half=True)
            yield


def run_child(change: Callable[[], object], n: int, *, half: bool = False) -> int:
    child = os.fork()
    if child == 0:
        try:
            die_at(n, half)
            change()
            os._exit(SURVIVED)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (SURVIVED, DIED, DIED_AT_WRITE), f"the child failed with {status}"
    return status


def die_at(n: int, half: bool) -> None:
    """Make the n-th file-system call of this process its last; `half` of it, if that is a write."""
    calls = itertools.count(1)

    def mortal(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == n:
                if half:
                    call(args[0], args[1][: len(args[1]) // 2])
                os._exit(DIED_AT_WRITE if name == "write" else DIED)
            return call(*args, **kwargs)

        return counted

    for name in CALLS:
        setattr(os, name, mortal(name, getattr(os, name)))


if __name__ == "__main__":
    os.fsync = lambda fd: None  # only processes die here, so the disk may take its time
    main()
