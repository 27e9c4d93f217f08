"""What a folder says of itself, and whether that is true.

A run and a generation each carry a `manifest.json`, which says where they come from
and the SHA-256 of every other file. Nothing in it is believed before it is checked.
"""

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepmoviematch.data.weights import FORMAT
from deepmoviematch.indexer.errors import GenerationError

MANIFEST = "manifest.json"
LARGEST_MANIFEST = 1 << 24
LARGEST_FILE = 1 << 34
"""Bytes; no folder of ours comes near either."""

_NAME = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)*", re.ASCII)
_ID = re.compile(r"g(\d{6,18})-([0-9a-f]{8})", re.ASCII)


def read(folder: Path, kind: str) -> dict[str, Any]:
    """Read the manifest in `folder`.

    Args:
        folder: A run or a generation.
        kind: Which of the two it must be: "run" or "generation".

    Raises:
        GenerationError: If there is none, or it is not of this kind and format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise GenerationError(
            f"a {kind} must have a {MANIFEST}, which is written last, got none; it is incomplete"
        )
    if path.stat().st_size > LARGEST_MANIFEST:
        raise GenerationError(
            f"{MANIFEST} must be at most {LARGEST_MANIFEST} bytes, got {path.stat().st_size}"
        )
    values = read_json(path)
    version = values.get("format")
    if type(version) is int and version > FORMAT:
        raise GenerationError(
            f"format {version} was written by a newer version, this one reads {FORMAT}; upgrade"
        )
    if type(version) is not int or version != FORMAT:
        raise GenerationError(f"{MANIFEST} must have format {FORMAT}, got {version!r}")
    if values.get("kind") != kind:
        raise GenerationError(f"{MANIFEST} must be of a {kind}, got {values.get('kind')!r}")
    if not isinstance(values.get("files"), dict):
        raise GenerationError(f"{MANIFEST} must list the files, got {type(values.get('files')).__name__}")
    return values


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that must hold a JSON object.

    Raises:
        GenerationError: If it does not.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise GenerationError(f"{path.name} must be readable JSON, got {error}") from error
    if not isinstance(values, dict):
        raise GenerationError(f"{path.name} must hold a JSON object, got {type(values).__name__}")
    return values


def to_json(values: Mapping[str, Any]) -> bytes:
    """`values` as the contents of a file for people to read; `read_json` gives them back."""
    return (json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def check_file(folder: Path, name: str, sha256: object, size: object = None) -> None:
    """Check that a file is what a manifest says.

    Args:
        folder: Where the manifest lies.
        name: The file's path below `folder`.
        sha256: Its SHA-256 in hex.
        size: Its size in bytes; None where the manifest does not say.

    Raises:
        GenerationError: If it is missing, cut, edited, or not a plain file in `folder`.
    """
    if not _NAME.fullmatch(name):
        raise GenerationError(f"{MANIFEST} must name files below its folder, got {name!r}")
    path = folder / name
    if path.resolve() != folder.resolve() / name:
        raise GenerationError(f"{name} must lie in the folder, got a link")
    if not path.exists():
        raise GenerationError(f"{name} is missing")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise GenerationError(f"{name} must be a plain file")
    if status.st_size > LARGEST_FILE:
        raise GenerationError(f"{name} must be at most {LARGEST_FILE} bytes, got {status.st_size}")
    if size is not None and status.st_size != size:
        change = "truncated" if isinstance(size, int) and status.st_size < size else "altered"
        raise GenerationError(f"{name} must have {size} bytes, got {status.st_size}; it was {change}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise GenerationError(f"{name} must have SHA-256 {sha256}, got {found}; it was edited or damaged")


def check_no_others(folder: Path, names: Mapping[str, object]) -> None:
    """Check that `folder` holds the files `names`, its manifest, and nothing else.

    Raises:
        GenerationError: If there is anything else, be it an empty folder, or a link.
    """
    folders = {parent.as_posix() for name in names for parent in Path(name).parents}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise GenerationError(f"{name} must lie in the folder, got a link")
        if name not in (folders if path.is_dir() else names.keys() | {MANIFEST}):
            raise GenerationError(f"{name} is surplus: {MANIFEST} does not list it")


def file_table(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """The manifest's entry for each of `files`."""
    return {
        name: {"sha256": hashlib.sha256(contents).hexdigest(), "size": len(contents)}
        for name, contents in sorted(files.items())
    }


def generation_id(sequence: int, manifest: Mapping[str, Any]) -> str:
    """The id of the generation with this manifest; as that has all hashes, it pins every byte."""
    return f"g{sequence:06}-{_fingerprint(manifest)}"


def sequence_of(name: str) -> int | None:
    """The number in a generation's id; None if `name` is not an id."""
    match = _ID.fullmatch(name)
    return int(match[1]) if match else None


def check_id(manifest: Mapping[str, Any]) -> str:
    """The id in a generation's manifest.

    Raises:
        GenerationError: If the id does not belong to the rest of the manifest.
    """
    name = manifest.get("id")
    match = _ID.fullmatch(name) if isinstance(name, str) else None
    if not match or match[2] != _fingerprint(manifest):
        raise GenerationError(
            f"{MANIFEST} must have an id that ends in {_fingerprint(manifest)}, got {name!r}; "
            "it was edited or damaged"
        )
    return match[0]


def _fingerprint(manifest: Mapping[str, Any]) -> str:
    values = {key: value for key, value in manifest.items() if key != "id"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
