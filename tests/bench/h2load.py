"""Drives unary gRPC with h2load: cheap enough to saturate a server from one core."""

import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from tests.bench.servers import LOAD_CPU, Running

CONNECTIONS, STREAMS = 8, 2
"""Calls in flight are their product: enough to keep a core busy, too few to be refused as too many."""


@dataclass(frozen=True)
class Load:
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
    contents = request.SerializeToString()
    with tempfile.NamedTemporaryFile() as body:
        body.write(b"\0" + struct.pack(">I", len(contents)) + contents)  # gRPC: not compressed, length
        body.flush()
        before = server.cpu_seconds
        done = subprocess.run(
            [
                *("/usr/bin/taskset", "-c", ",".join(map(str, cores))),
                *("h2load", "-n", str(requests), "-t", str(len(cores))),
                *("-c", str(connections), "-m", str(streams)),
                *("-d", body.name, "-H", "content-type: application/grpc", "-H", "te: trailers"),
                f"http://{server.address}{method}",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        used = server.cpu_seconds - before
    succeeded = int(_found(r"(\d+) succeeded", done.stdout))
    data = int(_found(r"\((\d+)\) data", done.stdout))
    if succeeded != requests or data != requests * (reply_bytes + 5):
        sys.exit(f"{method} must answer {requests} times with {reply_bytes} bytes, got:\n{done.stdout}")
    return Load(requests, _seconds(_found(r"finished in ([\d.]+m?s)", done.stdout)), used)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"h2load must report {pattern!r}, got:\n{text}")
    return match[1]


def _seconds(text: str) -> float:
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text[:-1])
