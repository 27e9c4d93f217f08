"""Server processes to measure: pinned to a core, with their CPU time at hand."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from deepmoviematch.client import Client
from deepmoviematch.server.host.pool import Pool
from deepmoviematch.server.tools.questions import CheckedCall
from deepmoviematch.server.tools.traffic import Traffic, read_histories
from deepmoviematch.v1 import recommender_pb2_grpc as rpc

SERVER_CPU = 0
LOAD_CPU = 1

QUESTIONS = 2000
"""Different ones, that a load goes through again and again."""


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    pid: int
    port: int

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the process has used, all of its threads together."""
        return time.clock_gettime((~self.pid << 3) | 2)  # what clock_getcpuclockid(3) gives

    @property
    def resident_mib(self) -> dict[str, float]:
        """Memory in RAM: all of it (`rss`), and the share that no other process maps (`private`)."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        private = kib["Private_Clean"] + kib["Private_Dirty"]
        return {"rss": kib["Rss"] / 1024, "pss": kib["Pss"] / 1024, "private": private / 1024}


@contextmanager
def started(
    words: Sequence[str], *, cpu: int | str | None = SERVER_CPU, stderr: int | None = subprocess.DEVNULL
) -> Iterator[Running]:
    """Run `python WORDS`, which must say its port as the product's server does, until the context ends.

    Args:
        words: What to run.
        cpu: The core that it is held to, or several as taskset takes them; None leaves it all.
        stderr: Where its log goes, as `subprocess.Popen` takes it.
    """
    held = [] if cpu is None else ["/usr/bin/taskset", "-c", str(cpu)]
    with subprocess.Popen(
        [*held, sys.executable, *words], stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield Running(process.pid, json.loads(process.stdout.readline())["port"])
        finally:
            process.send_signal(signal.SIGTERM)


def serving(
    store: Path, *words: str, kept_replies: int = 0, cpu: int | str = SERVER_CPU
) -> AbstractContextManager[Running]:
    """The server over `store`, as a context; it keeps no replies, for loads repeat themselves."""
    return started([*_serve(store), "--kept-replies", str(kept_replies), *words], cpu=cpu)


def unpinned(store: Path, workers: int, *more: str) -> AbstractContextManager[Running]:
    """The same as it is shipped, with so many workers, on whatever core is free; its warnings are seen."""
    words = ["--workers", str(workers), "--log-level", "warning", *more]
    return started([*_serve(store), *words], cpu=None, stderr=None)


def children(server: Running) -> list[Running]:
    """The workers of a server that has several."""
    pids = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return [Running(int(pid), server.port) for pid in pids]


def _serve(store: Path) -> list[str]:
    return ["-m", "deepmoviematch.server", "serve", "--store", str(store), "--port", "0"]


def listen(server: grpc.Server, pool: Pool | None = None) -> None:
    """Start `server`, made with `pool`, say its port as the product's does, and answer until SIGTERM."""
    port = server.add_insecure_port("127.0.0.1:0")
    if pool is None:
        server.start()
    else:
        pool.start(server)
    say(port)
    signal.sigwait([signal.SIGTERM])


def say(port: int) -> None:
    """Say where a server listens, as the product's does."""
    print(json.dumps({"event": "listening", "port": port}), flush=True)


def questions(server: Running, data: Path, seed: int) -> list[CheckedCall]:
    """What a load test would ask `server` for the users of the ratings in `data`."""
    with Client(server.address, timeout_s=30) as client:
        traffic = Traffic(client, read_histories(data), seed=seed)
    return [traffic.draw() for _ in range(QUESTIONS)]


@contextmanager
def stub(server: Running) -> Iterator[rpc.RecommenderServiceStub]:
    """A client of `server`."""
    with grpc.insecure_channel(server.address) as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
        yield rpc.RecommenderServiceStub(channel)
