"""Drives unary gRPC with h2load: cheap enough to saturate a server from one core."""

import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.message import Message

from tests.bench.servers import LOAD_CPU, Running

FRAME_BYTES = 5
"""Of gRPC, before each message."""

CONNECTIONS, STREAMS = 8, 2
"""Calls in flight are their product: enough to keep a core busy, too few to be refused as too many."""


class Load(NamedTuple):
    """What a run of h2load came to."""

    requests: int
    seconds: float
    """Wall-clock time."""

    cpu_seconds: float
    """CPU time of the server process."""


def require() -> None:
    """End the program with a clear error where h2load is missing."""
    if shutil.which("h2load") is None:
        sys.exit("h2load must be on the PATH, got none; install it: apt-get install nghttp2-client")


def drive(
    server: Running,
    method: str,
    request: Message,
    requests: int,
    *,
    reply_bytes: int,
    streams: int = STREAMS,
    connections: int = CONNECTIONS,
    cores: Sequence[int] = (LOAD_CPU,),
) -> Load:
    """Send `request` so many times, from cores of its own, and see that every reply has its size.

    Args:
        server: Takes the load.
        method: Full name of the method, such as "/package.Service/Method".
        request: Sent each time.
        requests: How many times.
        reply_bytes: Size of the expected reply; a reply of another size ends the program.
        streams: Calls at once over each of the connections.
        connections: How many.
        cores: That h2load may have, a thread on each.
    """
    words = ["-n", str(requests), "-c", str(connections), "-m", str(streams)]
    load, data, printed = _run(server, method, request, words, cores)
    if load.requests != requests or data != requests * (reply_bytes + FRAME_BYTES):
        sys.exit(f"{method} must answer {requests} times with {reply_bytes} bytes, got:\n{printed}")
    return load


def drive_for(
    server: Running,
    method: str,
    request: Message,
    seconds: int,
    *,
    reply_bytes: int,
    connections: int,
    cores: Sequence[int],
) -> Load:
    """Send `request` again and again, one at a time over each of the connections.

    For servers of several processes: they need not end at once, and whoever has more connections than
    others need not be waited for.

    Args:
        server: Takes the load.
        method: Full name of the method.
        request: Sent each time.
        seconds: For how long.
        reply_bytes: Size of the expected reply; the program ends where others are more than can be in flight.
        connections: How many.
        cores: That h2load may have, a thread on each.
    """
    words = ["-D", str(seconds), "-c", str(connections), "-m", "1"]
    load, data, printed = _run(server, method, request, words, cores)
    if abs(data / (reply_bytes + FRAME_BYTES) - load.requests) > connections:
        sys.exit(f"{method} must answer with {reply_bytes} bytes each time, got:\n{printed}")
    return load


def _run(
    server: Running, method: str, request: Message, words: Sequence[str], cores: Sequence[int]
) -> tuple[Load, int, str]:
    """What a run came to, bytes of the replies, and what h2load printed."""
    contents = request.SerializeToString()
    with tempfile.NamedTemporaryFile() as body:
        body.write(b"\0" + struct.pack(">I", len(contents)) + contents)  # gRPC: not compressed, length
        body.flush()
        before = server.cpu_seconds
        done = subprocess.run(
            [
                *("/usr/bin/taskset", "-c", ",".join(map(str, cores))),
                *("h2load", *words, "-t", str(len(cores))),
                *("-d", body.name, "-H", "content-type: application/grpc", "-H", "te: trailers"),
                f"http://{server.address}{method}",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        used = server.cpu_seconds - before
    succeeded, data = (int(_found(each, done.stdout)) for each in (r"(\d+) succeeded", r"\((\d+)\) data"))
    seconds = _seconds(_found(r"finished in ([\d.]+m?s)", done.stdout))
    return Load(succeeded, seconds, used), data, done.stdout


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"h2load must report {pattern!r}, got:\n{text}")
    return match[1]


def _seconds(text: str) -> float:
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text[:-1])
