"""Named data sets, from archives that the tests write."""

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from deepmoviematch.data.errors import FetchError
from deepmoviematch.data.readers import read
from deepmoviematch.data.sources import DEFAULT, SOURCES, Source, Wheel, fetch

ATOMIC = {
    "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t1\t3\t881250949\n",
    "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tToy Story\t1995\tAnimation Children's\n",
}
CSV = {
    "ratings.csv": "userId,movieId,rating,timestamp\r\n196,1,3.0,881250949\r\n",
    "movies.csv": "movieId,title,genres\r\n1,Toy Story (1995),Animation|Children's\r\n",
}
DAT = {"ratings.dat": "196::1::3::881250949\n", "movies.dat": "1::Toy Story (1995)::Animation|Children's\n"}
FILES = {"ml-100k": ATOMIC, "ml-1m": DAT}

EXPECTED = {
    "ratings.csv": "userId,movieId,rating,timestamp\n196,1,3.0,881250949\n",
    "movies.csv": "movieId,title,genres\n1,Toy Story (1995),Animation|Children's\n",
}


def zipped(name: str) -> bytes:
    """A small archive with the members of the source of that name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member in SOURCES[name].members:
            archive.writestr(member, FILES.get(name, CSV)[Path(member).name])
    return buffer.getvalue()


class Shelf:
    """Has archives at hand, and counts how often it is asked."""

    def __init__(self, contents: bytes) -> None:
        self.contents = contents
        self.asked = 0

    def bring(self, archive: Path, digest: str, console: Console) -> None:
        self.asked += 1
        archive.write_bytes(self.contents)


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_named_sources_are_there() -> None:
    assert list(SOURCES) == ["ml-100k", "ml-latest-small", "ml-1m", "ml-25m", "ml-32m"]
    assert DEFAULT in SOURCES
    for source in SOURCES.values():
        algorithm, digest = source.digest.split(":")
        assert len(digest) == hashlib.new(algorithm, usedforsecurity=False).digest_size * 2


@pytest.mark.parametrize("name", SOURCES)
def test_fetch_writes_the_canonical_files_whatever_the_source(tmp_path: Path, name: str) -> None:
    source = replace(SOURCES[name], origin=Shelf(zipped(name)))
    console = quiet()
    assert fetch(source, tmp_path / "new" / name, console)
    folder = tmp_path / "new" / name
    for file, text in EXPECTED.items():
        assert (folder / file).read_text() == text
    assert sorted(path.name for path in folder.iterdir()) == ["movies.csv", "ratings.csv", "source.json"]
    assert json.loads((folder / "source.json").read_text())["dataset"] == name
    assert read(folder).digest == json.loads((folder / "source.json").read_text())["digest"]
    assert text_of(console).count("Harper") == 1


def test_second_fetch_does_nothing(tmp_path: Path) -> None:
    shelf = Shelf(zipped("ml-1m"))
    source = replace(SOURCES["ml-1m"], origin=shelf)
    assert fetch(source, tmp_path, quiet())
    console = quiet()
    assert not fetch(source, tmp_path, console)
    assert (shelf.asked, text_of(console)) == (1, "")


def test_fetch_goes_on_where_one_file_is_missing(tmp_path: Path) -> None:
    source = replace(SOURCES["ml-1m"], origin=Shelf(zipped("ml-1m")))
    fetch(source, tmp_path, quiet())
    (tmp_path / "ratings.csv").unlink()
    assert fetch(source, tmp_path, quiet())
    assert (tmp_path / "ratings.csv").exists()


@pytest.mark.parametrize("names", [["ratings.csv"], ["movies.csv"], ["ratings.csv", "movies.csv"]])
@pytest.mark.parametrize("record", [None, "{", "[]", "{}"])
def test_files_of_the_users_own_are_left_alone(tmp_path: Path, names: list[str], record: str | None) -> None:
    for name in names:
        (tmp_path / name).write_text("mine")
    if record is not None:
        (tmp_path / "source.json").write_text(record)
    with pytest.raises(FetchError, match="must be free for ml-1m, got tables of another origin there"):
        fetch(SOURCES["ml-1m"], tmp_path, quiet())
    assert all((tmp_path / name).read_text() == "mine" for name in names)


def test_folder_of_another_source_is_refused(tmp_path: Path) -> None:
    fetch(replace(SOURCES["ml-1m"], origin=Shelf(zipped("ml-1m"))), tmp_path, quiet())
    with pytest.raises(FetchError, match="must be free for ml-25m, got ml-1m there; choose another --out"):
        fetch(SOURCES["ml-25m"], tmp_path, quiet())


@pytest.mark.parametrize("contents", [b"not a zip", zipped("ml-1m")], ids=["no archive", "other members"])
def test_archive_of_another_form_is_refused(tmp_path: Path, contents: bytes) -> None:
    with pytest.raises(FetchError, match=r"ml-25m.zip must be a zip archive with ml-25m/ratings.csv"):
        fetch(replace(SOURCES["ml-25m"], origin=Shelf(contents)), tmp_path, quiet())
    assert not (tmp_path / "ratings.csv").exists()


def test_source_that_cannot_be_reached_names_the_default(tmp_path: Path) -> None:
    class Unreachable:
        def bring(self, archive: Path, digest: str, console: Console) -> None:
            raise FetchError("no network")

    with pytest.raises(FetchError, match=r"no network; run the same command again.*--dataset ml-100k"):
        fetch(replace(SOURCES["ml-25m"], origin=Unreachable()), tmp_path, quiet())


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match="must be writable there"):
        fetch(SOURCES["ml-1m"], tmp_path / "file", quiet())


def wheel(folder: Path) -> Source:
    """The default source, with a wheel of the same name and members on this machine."""
    about = "recbole-1.2.1.dist-info"
    path = folder / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member in SOURCES[DEFAULT].members:
            archive.writestr(member, ATOMIC[Path(member).name])
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(SOURCES[DEFAULT], digest=f"sha256:{digest}")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip takes for the package registry."""
    (tmp_path / "registry").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "registry"))
    return tmp_path / "registry"


def test_default_comes_out_of_a_wheel_that_pip_brings(registry: Path, tmp_path: Path) -> None:
    assert isinstance(SOURCES[DEFAULT].origin, Wheel)
    assert fetch(wheel(registry), tmp_path / "out", quiet())
    assert (tmp_path / "out" / "ratings.csv").read_text() == EXPECTED["ratings.csv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "movies.csv",
        "ratings.csv",
        "source.json",
    ]


def test_another_wheel_than_promised_is_refused(registry: Path, tmp_path: Path) -> None:
    source = replace(wheel(registry), digest=SOURCES[DEFAULT].digest)
    with pytest.raises(FetchError, match="must have sha256 9c99"):
        fetch(source, tmp_path / "out", quiet())


def test_wheel_that_pip_cannot_bring_is_told(registry: Path, tmp_path: Path) -> None:
    assert not list(registry.iterdir())
    with pytest.raises(FetchError, match=r"recbole==1.2.1 must be had from the package registry, got ERROR"):
        fetch(SOURCES[DEFAULT], tmp_path / "out", quiet())
