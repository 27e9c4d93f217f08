"""Kills the indexer and the server's workers at random instants, as JSON.

    python -m tests.bench.kill --run RUN --data DIR [--kills 50] [--rate 100] [--json PATH]

While a server with two workers is asked at a steady rate, `indexer build` is started and
killed with SIGKILL after a random part of the time that it takes, `--kills` times; a worker
is killed after every tenth. After each kill every generation that the store lists must load,
the current one among them. Last, an indexer meets a full disk (a limit on the size of
files), and one that is left alone publishes. Ends with 1 if a call failed, an answer was
wrong or the store was not whole.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.tools.loadtest import LoadTest, arrivals
from deepmoviematch.server.tools.reach import Reach
from tests.bench import machine
from tests.bench.servers import questions, unpinned

FULL_BYTES = 100_000
"""The largest file that fits on the full disk."""

LIMITED = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write fails, as on a full disk
most = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
runpy.run_module("deepmoviematch.indexer", run_name="__main__", alter_sys=True)
"""


def main() -> None:
    """Measure, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="run of the trainer to publish")
    parser.add_argument("--data", type=Path, required=True, help="folder with the ratings.csv of its users")
    parser.add_argument("--kills", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second (default: %(default)g)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(chosen, Store(Path(folder) / "store"))
    machine.report(report, chosen.json, shown=True)
    sys.exit(not report["passed"])


def measure(chosen: argparse.Namespace, store: Store) -> dict[str, Any]:
    """All the kills, under load."""
    chance = random.Random(chosen.seed)
    began = time.monotonic()
    build(chosen.run, store).wait()
    takes_s = time.monotonic() - began
    damaged, before = 0, store.list()
    with unpinned(store.folder, workers=2) as server:
        test = LoadTest(Reach(server.address), questions(server, chosen.data, chosen.seed), connections=8)
        due = list(arrivals(chosen.rate, 1.5 * takes_s * chosen.kills + 20, seed=chosen.seed))
        over = threading.Event()
        asked: list[Any] = []
        load = threading.Thread(target=lambda: asked.append(test.run(due, over=over)))
        load.start()
        workers = 0
        for number in range(chosen.kills):
            indexer = build(chosen.run, store)
            time.sleep(chance.random() * takes_s)
            indexer.kill()
            indexer.wait()
            damaged += not whole(store)
            if number % 10 == 9:
                os.kill(chance.choice(workers_of(server.port)), signal.SIGKILL)
                workers += 1
        published = len(store.list()) - len(before)
        current = store.current()
        full = build(chosen.run, store, file_bytes=FULL_BYTES)
        error = full.communicate()[1].strip()
        unchanged = store.current() == current and whole(store)
        last = build(chosen.run, store)
        last.wait()
        time.sleep(3.0)
        over.set()
        load.join()
        [measured] = asked
    outcomes = Counter(measured.outcomes)
    return {
        "kills": chosen.kills,
        "killed_too_late": published,
        "workers_killed": workers,
        "damaged": damaged,
        "full_disk": {"status": full.returncode, "error": error, "old_generation_intact": unchanged},
        "seed": chosen.seed,
        "calls": len(measured.outcomes),
        "outcomes": dict(outcomes),
        "faults": dict(measured.faults),
        "newest_serves": store.current() in measured.generations,
        "passed": not damaged
        and unchanged
        and full.returncode == 1
        and set(outcomes) == {"OK"}
        and store.current() in measured.generations,
    }


def build(run: Path, store: Store, *, file_bytes: int | None = None) -> "subprocess.Popen[str]":
    """An indexer under way, whose files may be limited in size."""
    words = ["build", "--run", str(run), "--store", str(store.folder)]
    # The child limits itself: gRPC, which this process uses, does not survive code between fork and exec.
    how = ["-m", "deepmoviematch.indexer"] if file_bytes is None else ["-c", LIMITED, str(file_bytes)]
    return subprocess.Popen(
        [sys.executable, *how, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def whole(store: Store) -> bool:
    """Whether everything that the store lists loads, the current one among it."""
    try:
        for name in store.list():
            store.load(name)
    except GenerationError:
        return False
    return store.current() in store.list()


def workers_of(port: int) -> list[int]:
    """Processes of the server that listens on `port`, without their supervisor."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if "--worker" in words and str(port) in words:
                found.append(int(folder.name))
    return found


if __name__ == "__main__":
    main()
