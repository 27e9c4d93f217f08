"""Against a server on this machine that knows ranges and can fail on demand."""

import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from deepmoviematch.data.download import check, download
from deepmoviematch.data.errors import FetchError

CONTENTS = bytes(range(256)) * 4096  # 1 MiB
DIGEST = f"sha256:{hashlib.sha256(CONTENTS).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Serves `CONTENTS` at every path."""

    knows_ranges = True
    stops_after: int | None = None
    """Hang up after so many bytes of a body."""

    status: int | None = None
    """Answer with this error."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/ml-1m.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        wanted = self.headers["Range"]
        server.ranges.append(wanted)
        if server.status is not None:
            self.send_error(server.status)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.knows_ranges else 0
        if start >= len(CONTENTS):
            self.send_error(416)
            return
        body = CONTENTS[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.stops_after])

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that runs while the test does."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(url: str, target: Path, digest: str = DIGEST) -> str:
    """Download, and return what the console showed."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    download(url, target, digest=digest, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_file_arrives_whole_and_nothing_else(server: Server, tmp_path: Path) -> None:
    shown = get(server.url, tmp_path / "ml-1m.zip")
    assert (tmp_path / "ml-1m.zip").read_bytes() == CONTENTS
    assert [path.name for path in tmp_path.iterdir()] == ["ml-1m.zip"]
    assert "ml-1m.zip" in shown
    assert "1.0/1.0 MB" in shown
    assert server.ranges == [None]


def test_md5_will_do_where_it_is_what_was_published(server: Server, tmp_path: Path) -> None:
    digest = hashlib.md5(CONTENTS, usedforsecurity=False).hexdigest()
    get(server.url, tmp_path / "ml-1m.zip", f"md5:{digest}")
    assert (tmp_path / "ml-1m.zip").exists()


def test_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ml-1m.zip").write_bytes(CONTENTS)
    get(server.url, tmp_path / "ml-1m.zip")
    assert server.ranges == []


def test_download_that_stops_is_resumed(server: Server, tmp_path: Path) -> None:
    server.stops_after = 300_000
    with pytest.raises(FetchError, match="stopped after 300,000 of 1,048,576 bytes"):
        get(server.url, tmp_path / "ml-1m.zip")
    assert (tmp_path / "ml-1m.zip.part").read_bytes() == CONTENTS[:300_000]
    assert not (tmp_path / "ml-1m.zip").exists()
    server.stops_after = None
    get(server.url, tmp_path / "ml-1m.zip")
    assert server.ranges == [None, "bytes=300000-"]
    assert (tmp_path / "ml-1m.zip").read_bytes() == CONTENTS


def test_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    (tmp_path / "ml-1m.zip.part").write_bytes(CONTENTS[:1000])
    get(server.url, tmp_path / "ml-1m.zip")
    assert (tmp_path / "ml-1m.zip").read_bytes() == CONTENTS


def test_part_that_is_whole_already_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ml-1m.zip.part").write_bytes(CONTENTS)
    get(server.url, tmp_path / "ml-1m.zip")
    assert (tmp_path / "ml-1m.zip").read_bytes() == CONTENTS


def test_part_of_another_file_is_deleted_so_that_the_next_call_works(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ml-1m.zip.part").write_bytes(b"x" * 1000)
    with pytest.raises(FetchError, match=r"ml-1m.zip.part must have sha256 .*the file was deleted"):
        get(server.url, tmp_path / "ml-1m.zip")
    assert list(tmp_path.iterdir()) == []
    get(server.url, tmp_path / "ml-1m.zip")
    assert (tmp_path / "ml-1m.zip").read_bytes() == CONTENTS


def test_another_file_than_promised_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="must have sha256 0000"):
        get(server.url, tmp_path / "ml-1m.zip", "sha256:" + "0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [404, 503])
def test_error_of_the_server_is_told(server: Server, tmp_path: Path, status: int) -> None:
    server.status = status
    (tmp_path / "ml-1m.zip.part").write_bytes(CONTENTS[:1000])
    with pytest.raises(FetchError, match=f"cannot be downloaded, got HTTP Error {status}"):
        get(server.url, tmp_path / "ml-1m.zip")
    assert (tmp_path / "ml-1m.zip.part").stat().st_size == 1000


def test_server_that_is_not_there_is_told(server: Server, tmp_path: Path) -> None:
    url = server.url
    server.server_close()
    with pytest.raises(FetchError, match="cannot be downloaded, got"):
        get(url, tmp_path / "ml-1m.zip")


def test_check_leaves_a_good_file_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENTS)
    check(tmp_path / "file", DIGEST)
    assert (tmp_path / "file").exists()
