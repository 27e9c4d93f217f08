"""Who may call, and how often: API keys, of which the server knows no more than hashes.

A key is 256 random bits, so a plain SHA-256 of it cannot be turned back; slow hashes are
for passwords that people think up. The file is TOML, one table a key:

    [shop]
    sha256 = "9f86d0..."
    calls_per_s = 50
"""

import hashlib
import math
import os
import re
import reprlib
import secrets
import shlex
import stat
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from deepmoviematch.indexer import disk
from deepmoviematch.server.errors import RateError, ServeError, UnknownCallerError, listed, shown

TRIED = 4
"""Keys of one call that are looked for in the file, the first ones: each takes a hash."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_NAME = 60
_HASH = re.compile(r"[0-9a-fA-F]{64}")


@dataclass
class _Caller:
    """One key, and how many calls it has left (a token bucket)."""

    name: str
    calls_per_s: float
    """How often it may call all workers together."""
    left: float
    counted_at: float


class Keys:
    """The keys of a file; one thread at a time may check them."""

    def __init__(self, path: Path, *, workers: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        """Read a file of keys.

        Args:
            path: As `add` writes it.
            workers: Processes that share the work; each allows its share of a key's calls, but a second's
                worth of all of them at once, as a connection keeps to one worker.
            clock: Tells seconds.

        Raises:
            ServeError: If the file cannot be read or breaks a rule.
        """
        self._clock = clock
        self._workers = workers
        _, tables = _read(path)
        if not tables:
            raise ServeError(
                f"{path} must have an API key, or nobody can call, got none; make one: {_cure(path)}"
            )
        self._callers: dict[str, _Caller] = {}
        for name, entry in tables.items():
            hashed, rate = _hash_and_rate(path, name, entry)
            if hashed in self._callers:
                raise ServeError(
                    f"{path}: each sha256 must be there once, got that of {self._callers[hashed].name} "
                    f"at {name} too; remove one of the two or make another key"
                )
            self._callers[hashed] = _Caller(name, rate, max(1.0, rate), clock())

    def check(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Count one call of whoever sent `metadata`, by the first of its keys that is in the file.

        Raises:
            UnknownCallerError: If none of its first `TRIED` keys is in the file.
            RateError: If this key has no calls left for now.
        """
        hashes = (hashlib.sha256(key).hexdigest() for key in islice(_keys(metadata), TRIED))
        caller = next((self._callers[each] for each in hashes if each in self._callers), None)
        if caller is None:
            raise UnknownCallerError
        now = self._clock()
        most = max(1.0, caller.calls_per_s)
        rate = caller.calls_per_s / self._workers
        caller.left = min(most, caller.left + (now - caller.counted_at) * rate)
        caller.counted_at = now
        if caller.left < 1:
            raise RateError(caller.calls_per_s, self._workers, (1 - caller.left) / rate)
        caller.left -= 1


def add(
    path: Path, name: str, calls_per_s: float | None, *, tell: Callable[[str], object] = lambda _: None
) -> str:
    """Make a key for a caller and add its hash to the file.

    Args:
        path: The file, which need not be there yet.
        name: Of the caller.
        calls_per_s: How often it may call; None for no limit.
        tell: Told the key before its hash is written, so that no name is taken by a key that nobody saw;
            what it raises leaves the file as it was.

    Returns:
        The key, which is nowhere else.

    Raises:
        ServeError: If the name is taken, too long or has other characters than letters, digits, - and _, or
            the file cannot be written, or is there and cannot be read.
    """
    if not _NAME.fullmatch(name):
        raise ServeError(f"a key must have a name of letters, digits, - and _, got {name!r}")
    if len(name) > _LONGEST_NAME:
        raise ServeError(
            f"a key must have a name of at most {_LONGEST_NAME} characters, got {len(name)}: {shown(name)}"
        )
    key = secrets.token_urlsafe(32)
    lines = [f"[{name}]", f'sha256 = "{hashlib.sha256(key.encode()).hexdigest()}"']
    if calls_per_s is not None:
        lines.append(f"calls_per_s = {calls_per_s!r}")
    _append(path, name, "\n".join(lines) + "\n\n", lambda: tell(key))
    return key


def _append(path: Path, name: str, table: str, ready: Callable[[], object]) -> None:
    """Write the file of keys anew, with a table more, once `ready` has returned; one process at a time."""
    with ExitStack() as held:
        with _writable(path):
            path = path.resolve()
            held.enter_context(disk.locked(path.with_name(f".{path.name}.lock")))
            before = path.stat() if path.exists() else None
        text, taken = _read(path) if before else ("", {})
        if name in taken:
            raise ServeError(f"a key must have a new name, got {name!r}, which is in {path}; choose another")
        begun = "\n" if text and not text.endswith("\n") else ""  # somebody's last line has no end
        ready()
        with _writable(path):
            disk.replace_file(path, f"{text}{begun}{table}".encode(), mode=0o600)
            if before:  # whoever could read it still can
                with suppress(PermissionError):
                    os.chown(path, before.st_uid, before.st_gid)
                    path.chmod(stat.S_IMODE(before.st_mode))


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServeError(
            f"--api-keys must be a file that can be written to, in a folder that can, got {path}: {error}; "
            "make its folder or name another"
        ) from error


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a file of keys, and its tables by name."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ServeError(
            f"{path} must be a file of API keys, got {error}; make one: {_cure(path)}"
        ) from error


def _cure(path: Path) -> str:
    """The command that makes a key."""
    return f"key NAME --api-keys {shlex.quote(str(path))}"


def _hash_and_rate(path: Path, name: str, entry: object) -> tuple[str, float]:
    """What a table of the file says; no error repeats a text, which may be the hash or even the key."""
    if not isinstance(entry, dict):
        raise ServeError(
            f"{path}: {name} must be a table, got {_kind(entry)}; write [{name}] and its sha256 below that"
        )
    if surplus := sorted(entry.keys() - {"sha256", "calls_per_s"}):
        raise ServeError(
            f"{path}: {name} may have the settings sha256 and calls_per_s, got {listed(surplus)}; remove it"
        )
    hashed, rate = entry.get("sha256"), entry.get("calls_per_s", math.inf)
    if not isinstance(hashed, str) or not _HASH.fullmatch(hashed):
        raise ServeError(
            f"{path}: sha256 of {name} must be 64 hexadecimal digits, got {_kind(hashed)}; "
            f"make another key: {_cure(path)}"
        )
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if not number or not (0 < rate <= sys.float_info.max or rate == math.inf):
        got = reprlib.repr(rate) if number else _kind(rate)
        raise ServeError(
            f"{path}: calls_per_s of {name} must be a number above 0 that a float holds, got {got}; "
            "leave it out for no limit"
        )
    return hashed.lower(), rate


def _kind(value: object) -> str:
    if isinstance(value, str):
        return f"{len(value)} characters"
    return "none" if value is None else type(value).__name__


def _keys(metadata: Iterable[tuple[str, str | bytes]]) -> Iterator[bytes]:
    """What each `x-api-key` and `authorization: Bearer` carries, unless it is empty.

    Something on the way may have put a token of its own before the key.
    """
    for name, value in metadata:
        text = value.encode() if isinstance(value, str) else value
        if name == "authorization" and text[:7].lower() == b"bearer ":
            text = text[7:]
        elif name != "x-api-key":
            continue
        if text:
            yield text
