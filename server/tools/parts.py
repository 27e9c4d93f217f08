"""A table in part files: a process that dies leaves whole ones, and a later one goes on with them.

    OUT/part-00000.parquet    written under another name first, then renamed
    OUT/_manifest.json        what was asked for, and which parts are done

Whoever reads the folder as one Parquet table skips names that begin with _ or a dot.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from deepmoviematch.indexer import disk
from deepmoviematch.server.errors import RecommendAllError

Counts: TypeAlias = dict[str, int]
"""What is in a part, by what is counted."""

_FORMAT = 1


class Parts:
    """The folder of one table."""

    def __init__(self, folder: Path) -> None:
        """Take `folder`, which need not be there yet."""
        self._folder = folder
        self._manifest = folder / "_manifest.json"
        self._asked: Mapping[str, Any] = {}
        self._parts: dict[str, dict[str, Any]] = {}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out of the folder, which is made if it is missing.

        Raises:
            RecommendAllError: If it cannot be made or written to.
        """
        with ExitStack() as held:
            try:
                disk.make_folder(self._folder)
                held.enter_context(disk.locked(self._folder / ".lock"))
            except OSError as error:
                raise RecommendAllError(
                    f"{self._folder} must be a folder to write to, got {error}; name another folder"
                ) from error
            yield

    def asked(self) -> dict[str, Any] | None:
        """What was asked for when the table was begun; None where none was.

        Raises:
            RecommendAllError: If the manifest is not of the form.
        """
        found = self._read()
        return None if found is None else found["asked"]

    def begin(self, asked: Mapping[str, Any], *, resume: bool) -> None:
        """Begin the table, or go on with one that was begun.

        Args:
            asked: All that decides what is in the table, as plain values.
            resume: Whether to go on where there is one.

        Raises:
            RecommendAllError: If the folder holds something else, or a part is not as it was written.
        """
        found = self._read()
        self._asked = asked
        if found is None:
            self._check_empty()
            self._save()
            return
        if not resume:
            raise RecommendAllError(
                f"{self._folder} must be empty, got a table that was begun before; "
                "--resume goes on with it, or name another folder"
            )
        for name, value in asked.items():
            if found["asked"].get(name) != value:
                raise RecommendAllError(
                    f"--resume must ask for what {self._folder} was begun with, {name} "
                    f"{found['asked'].get(name)!r}, got {value!r}; name another folder"
                )
        self._parts = found["parts"]
        for name, part in self._parts.items():
            self._check(self._folder / name, part["sha256"])

    def has(self, number: int) -> bool:
        """Whether a part is done."""
        return _name(number) in self._parts

    def add(self, number: int, contents: bytes, counts: Counts) -> None:
        """Write a part; once this returns, it is on the disk."""
        name = _name(number)
        disk.replace_file(self._folder / name, contents)
        self._parts[name] = {**counts, "sha256": hashlib.sha256(contents).hexdigest()}
        self._save()

    def totals(self) -> Counts:
        """What is in all the parts that are done."""
        totals = {"parts": len(self._parts)}
        for part in self._parts.values():
            for name, count in part.items():
                if name != "sha256":
                    totals[name] = totals.get(name, 0) + count
        return totals

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._manifest.read_text(encoding="utf-8"))
            if found["format"] != _FORMAT:
                raise ValueError(f"format {found['format']}")
            return {"asked": dict(found["asked"]), "parts": dict(found["parts"])}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecommendAllError(
                f"{self._manifest} must be a manifest of format {_FORMAT}, got {error!r}; name another folder"
            ) from error

    def _save(self) -> None:
        values = {"format": _FORMAT, "asked": self._asked, "parts": self._parts}
        disk.replace_file(self._manifest, (json.dumps(values, indent=1) + "\n").encode())

    def _check_empty(self) -> None:
        """Hidden files are ours: the lock, and what somebody who died here was about to write."""
        for path in self._folder.iterdir():
            if not path.name.startswith("."):
                raise RecommendAllError(
                    f"{self._folder} must be empty, got {path.name} in it; name another folder"
                )

    def _check(self, path: Path, digest: str) -> None:
        try:
            same = hashlib.sha256(path.read_bytes()).hexdigest() == digest
        except OSError as error:
            raise RecommendAllError(
                f"{path} must be readable, got {error}; begin in another folder"
            ) from error
        if not same:
            raise RecommendAllError(
                f"{path} must hold what was written, got other contents; begin in another folder"
            )


def _name(number: int) -> str:
    return f"part-{number:05}.parquet"
