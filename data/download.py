"""A file from the web: resumed where it stopped, checked, and only then in place."""

import hashlib
import http
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from deepmoviematch.data.errors import FetchError

TIMEOUT_S = 30.0
_CHUNK = 1 << 18


def download(url: str, target: Path, *, digest: str, console: Console) -> None:
    """Bring `url` to `target`; what is already there is not fetched again.

    Bytes go to `target` with `.part` behind its name until the file is whole, and a
    later call goes on from there.

    Args:
        url: An http or https address.
        target: The file to make; its folder exists.
        digest: What the file must hash to: "sha256:..." or "md5:...", in hexadecimal.
        console: Where the progress bar goes.

    Raises:
        FetchError: If the address cannot be read to its end, or gives another file.
    """
    if not target.exists():
        part = target.with_name(target.name + ".part")
        try:
            _receive(url, part, console)
        except (OSError, http.client.HTTPException) as error:
            raise FetchError(f"{url} cannot be downloaded, got {error}") from error
        check(part, digest)
        part.replace(target)
    check(target, digest)


def check(path: Path, digest: str) -> None:
    """Delete the file unless it hashes to `digest`.

    Raises:
        FetchError: If it does not.
    """
    algorithm, expected = digest.split(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        path.unlink()
        raise FetchError(f"{path.name} must have {algorithm} {expected}, got {found}; the file was deleted")


def _receive(url: str, part: Path, console: Console) -> None:
    have = part.stat().st_size if part.exists() else 0
    wanted = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=wanted)  # noqa: S310 - our own addresses
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
            have = have if resumed else 0  # a server may ignore the range and send everything
            length = answer.headers["Content-Length"]
            total = None if length is None else have + int(length)
            with part.open("ab" if resumed else "wb") as file, _progress(console) as progress:
                task = progress.add_task(part.stem, total=total, completed=have)
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    progress.advance(task, len(chunk))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return  # nothing comes after the bytes that are here; their digest decides
    received = part.stat().st_size
    if total is not None and received < total:
        raise FetchError(f"{url} stopped after {received:,} of {total:,} bytes")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
