"""A tour: starts a server on a free port, asks it three questions, stops it.

The questions are ordinary `query` command lines, printed before they are run. They
name films that most people know, or whatever is popular where those are missing.
"""

import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deepmoviematch.indexer.store import Store
from deepmoviematch.server.errors import QueryError, ServeError
from deepmoviematch.server.program import PROGRAM
from deepmoviematch.server.tools.lookup import Lookup, connected, plain, titled
from deepmoviematch.v1 import recommender_pb2 as pb

START_S = 60.0
STOP_S = 15.0

_LIKES = ("Star Wars (1977)", "Alien (1979)", "Blade Runner (1982)")
_NEAR = "Toy Story (1995)"
_TASTE = {"action": 5.0, "sci-fi": 4.5, "romance": 1.0}


def run(store: Path, query: Callable[[Sequence[str]], None]) -> None:
    """Show the three questions and their answers.

    Args:
        store: Folder of the store.
        query: Runs the command of that name with the words after it.

    Raises:
        StoreError: If there is no current generation.
        GenerationError: If it fails a check.
        ServeError: If the server does not start.
        QueryError: If it does not answer.
    """
    Store(store).load()  # says what is wrong with it sooner and better than a server that waits
    with _serving(store) as address:
        with connected(address) as client:
            asked = questions(client)
        for caption, words in asked:
            command = [*PROGRAM.split(), "query", *words]
            print(f"{caption}\n$ {shlex.join(command)}", flush=True)
            query([*words, "--address", address])
    print(f"the server has stopped; start one with: {PROGRAM} serve --store {shlex.quote(str(store))}")


def questions(client: Lookup) -> list[tuple[str, list[str]]]:
    """Make up the questions.

    Returns:
        A caption and the words after `query` for each.
    """
    popular = client.recommend(pb.RecommendRequest(page_size=100)).results
    liked = _named(client, _LIKES, popular)
    [near] = _named(client, (_NEAR,), popular)
    genres = [f"{name}={stars:g}" for name, stars in _taste(popular).items()]
    return [
        (
            "What suits somebody with these tastes?" if genres else "What suits somebody unknown?",
            ["recommend", *(word for genre in genres for word in ("--genre", genre))],
        ),
        (
            f"What suits somebody who liked {f'these {len(liked)}' if len(liked) > 1 else 'this one'}?",
            ["recommend", *(word for title in liked for word in ("--like", title))],
        ),
        ("What is like this one?", ["similar", near]),
    ]


def _named(client: Lookup, titles: tuple[str, ...], popular: Sequence[pb.Recommendation]) -> list[str]:
    """The titles that the catalogue has, popular items in place of the others."""
    known = [title for title in titles if any(item.score == 1 for item in client.find(title).results)]
    # What begins with a dash would read as an option.
    spare = (
        name
        for name in (_name(client, item) for item in popular if titled(item) not in known)
        if not name.startswith("-")
    )
    return [*known, *islice(spare, len(titles) - len(known))]


def _name(client: Lookup, item: pb.Recommendation) -> str:
    """The item's title, or its id where the title means others too, or cannot be asked for or shown."""
    title = titled(item)
    try:
        found = client.resolve(title)
    except QueryError:
        return item.item_id
    means_it = found.item.item_id == item.item_id and not found.others
    return title if means_it and plain(title) == title else item.item_id


def _taste(popular: Sequence[pb.Recommendation]) -> dict[str, float]:
    """Stars for a few genres: the well-known ones, or the popular items' most frequent."""
    counts = Counter(genre for item in popular for genre in item.genres)
    known = {genre.casefold() for genre in counts}
    if len(named := {genre: stars for genre, stars in _TASTE.items() if genre in known}) > 1:
        return named
    return dict(zip((genre for genre, _ in counts.most_common(3)), (5.0, 4.0, 1.0), strict=False))


@contextmanager
def _serving(store: Path) -> Iterator[str]:
    """A server process of our own; yields its address and leaves nothing running."""
    with _signals_as_exits(), tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        command = [sys.executable, "-m", "deepmoviematch.server", "serve", "--store", str(store)]
        command += ["--port", "0", "--port-file", str(port_file), "--log-level", "error"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:  # noqa: S603 - our own program
            try:
                address = f"127.0.0.1:{_port(server, port_file)}"
                _wait_until_serving(address)
                yield address
            finally:
                _stop(server)


@contextmanager
def _signals_as_exits() -> Iterator[None]:
    """SIGTERM and SIGINT raise SystemExit, so that `finally` gets its turn."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _port(server: "subprocess.Popen[bytes]", port_file: Path) -> int:
    deadline = time.monotonic() + START_S
    while not port_file.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            raise ServeError(f"the server must start within {START_S:g} s, got none; its reason is above")
        time.sleep(0.02)
    return int(port_file.read_text())


def _wait_until_serving(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its types lack Watch
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=START_S)
        try:
            for change in watch:
                if change.status == health_pb2.HealthCheckResponse.SERVING:
                    watch.cancel()
                    return
        except grpc.RpcError as error:
            raise ServeError(
                f"the generation must load within {START_S:g} s, got {error.code().name}; "
                "the server's reason is above"
            ) from error
    raise QueryError("the server stopped before it served; its reason is above")


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
