"""The few steps by which the store changes the disk, and how it reads what anybody may have put there.

Each goes through `os`, so that a test can cut the power at any of them. A step that
returns has reached the disk, unless it says otherwise.
"""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def read_file(path: Path, *, most: int) -> bytes:
    """The contents of a plain file of at most `most` bytes; of anything else nothing is read or waited for.

    Raises:
        ValueError: If it is something else, or larger.
        OSError: If it cannot be read.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else a pipe would wait for its writer
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            kind = stat.filemode(status.st_mode)
            raise ValueError(f"{kind} of {status.st_size} bytes, not a plain file of {most} at most")
        return os.read(file, most)
    finally:
        os.close(file)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` alone, waiting for whoever holds it; a dead holder has let go."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def make_folder(path: Path) -> None:
    """Make `path` and the folders above it, where they are missing."""
    if not path.is_dir():
        make_folder(path.parent)
        with suppress(FileExistsError):  # two may come first
            os.mkdir(path)
        sync_folder(path.parent)


def write_file(path: Path, contents: bytes, *, mode: int = 0o644) -> None:
    """Write a new file; its name reaches the disk with `sync_folder`."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        rest = memoryview(contents)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def sync_folder(path: Path) -> None:
    """Bring the names in `path` to the disk."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def move(source: Path, target: Path) -> None:
    """Rename a folder; `target` must be free, and on the same disk."""
    os.rename(source, target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def replace_file(path: Path, contents: bytes, *, mode: int = 0o644) -> None:
    """Give `path` new contents; a reader sees either the old or the new, whole."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # of somebody who died here
    try:
        write_file(beside, contents, mode=mode)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Remove `path` and all below it, if it is there; after a power cut some of it may be there again."""
    if path.is_dir():
        shutil.rmtree(path)
