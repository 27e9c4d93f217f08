"""The data sets that can be had by name.

To add one: a row in `SOURCES`, and if its form is new, one in `readers.FORMS`.
"""

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from rich.console import Console

from deepmoviematch.data.canonical import MOVIES_CSV, RATINGS_CSV, write
from deepmoviematch.data.download import check, download
from deepmoviematch.data.errors import FetchError
from deepmoviematch.data.readers import read

DEFAULT = "ml-100k"
"""Needs the package registry only, so it can be had wherever the project can be installed."""

TERMS = (
    "MovieLens data come from GroupLens at the University of Minnesota: for research, not for profit "
    "without their permission, not to be passed on without it either, and never as if they endorsed "
    "your work. In publications cite F. M. Harper and J. A. Konstan, The MovieLens Datasets: History "
    "and Context, ACM TiiS 5(4), 2015, https://doi.org/10.1145/2827872"
)

_RECORD = "source.json"


class Origin(Protocol):
    """Where an archive comes from."""

    def bring(self, archive: Path, digest: str, console: Console) -> None:
        """Make the file `archive`, which hashes to `digest`.

        Raises:
            FetchError: If it cannot be had.
        """


@dataclass(frozen=True)
class Web:
    """A file at an address."""

    url: str

    def bring(self, archive: Path, digest: str, console: Console) -> None:
        """See `Origin.bring`."""
        download(self.url, archive, digest=digest, console=console)


@dataclass(frozen=True)
class Wheel:
    """A package in the registry that pip is set up for."""

    requirement: str

    def bring(self, archive: Path, digest: str, console: Console) -> None:
        """See `Origin.bring`; dependencies stay out."""
        console.print(f"pip download {self.requirement}", style="dim", highlight=False)
        with TemporaryDirectory(dir=archive.parent) as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            options = ["--no-deps", "--only-binary=:all:", "--retries=1", f"--dest={folder}"]
            done = subprocess.run(  # noqa: S603 - our own words
                [*command, *options, self.requirement], capture_output=True, text=True, check=False
            )
            found = list(Path(folder).glob("*.whl"))
            if done.returncode != 0 or len(found) != 1:
                reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
                raise FetchError(f"{self.requirement} must be had from the package registry, got {reason}")
            check(found[0], digest)
            found[0].replace(archive)


@dataclass(frozen=True)
class Source:
    """A named data set: an archive and the two files to take out of it."""

    name: str
    origin: Origin
    digest: str
    """Of the archive, as `download.check` takes it."""

    members: tuple[str, str]


def _grouplens(name: str, digest: str, *files: str) -> Source:
    url = f"https://files.grouplens.org/datasets/movielens/{name}.zip"
    return Source(name, Web(url), digest, (f"{name}/{files[0]}", f"{name}/{files[1]}"))


SOURCES = {
    source.name: source
    for source in (
        Source(
            DEFAULT,
            Wheel("recbole==1.2.1"),
            "sha256:9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
            (
                "recbole/dataset_example/ml-100k/ml-100k.inter",
                "recbole/dataset_example/ml-100k/ml-100k.item",
            ),
        ),
        _grouplens(
            "ml-latest-small",
            "sha256:696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
            RATINGS_CSV,
            MOVIES_CSV,
        ),
        _grouplens(
            "ml-1m",
            "sha256:a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
            "ratings.dat",
            "movies.dat",
        ),
        _grouplens(
            "ml-25m",
            "sha256:8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
            RATINGS_CSV,
            MOVIES_CSV,
        ),
        _grouplens("ml-32m", "md5:d472be332d4daa821edc399621853b57", RATINGS_CSV, MOVIES_CSV),
    )
}
"""By name, smallest first; the digests are the published ones."""


def fetch(source: Source, folder: Path, console: Console) -> bool:
    """Put `source` into `folder` in the canonical form, unless it is there.

    Args:
        source: What to fetch.
        folder: Where to; made if missing. A download that stops half-way is kept
            there and resumed by the next call.
        console: For progress and terms.

    Returns:
        Whether anything was done.

    Raises:
        FetchError: If the data cannot be had, or `folder` holds another source.
    """
    tables = [folder / name for name in (RATINGS_CSV, MOVIES_CSV)]
    if any(table.exists() for table in tables):
        _check_record(source, folder)
        if all(table.exists() for table in tables):
            return False
    archive = folder / f"{source.name}.zip"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        source.origin.bring(archive, source.digest, console)
        console.print(TERMS, style="dim", highlight=False)
        with TemporaryDirectory(dir=folder) as unpacked:
            _unpack(archive, source.members, Path(unpacked))
            dataset = read(Path(unpacked))
        record = {"dataset": source.name, "archive": source.digest, "digest": dataset.digest}
        (folder / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        write(dataset, folder)
        archive.unlink()
    except FetchError as error:
        raise FetchError(f"{error}; {_cure(source)}") from error
    except OSError as error:
        raise FetchError(f"{folder}: the data must be writable there, got {error}") from error
    return True


def _cure(source: Source) -> str:
    again = "run the same command again to go on"
    if source.name == DEFAULT:
        return again
    return f"{again}, or take --dataset {DEFAULT}, which needs the package registry only"


def _check_record(source: Source, folder: Path) -> None:
    try:
        found = json.loads((folder / _RECORD).read_text(encoding="utf-8"))["dataset"]
    except (OSError, ValueError, KeyError, TypeError):
        found = "tables of another origin"
    if found != source.name:
        raise FetchError(f"{folder} must be free for {source.name}, got {found} there; choose another --out")


def _unpack(archive: Path, members: tuple[str, ...], folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as files:
            for member in members:
                with files.open(member) as packed, (folder / Path(member).name).open("wb") as file:
                    shutil.copyfileobj(packed, file)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(
            f"{archive.name} must be a zip archive with {' and '.join(members)}, got {error}"
        ) from error
