"""Whether a server stays as it is under a long load with swaps, as JSON.

    python -m tests.bench.soak --run RUN --data DIR [--seconds 600] [--rate 100] [--json PATH]

A server with two workers is asked at a steady rate while a new generation is published every
`--every` seconds and the store keeps three. Memory, file descriptors and threads of each
worker are read once a second. Compared are the medians of the second and the last quarter
of the time: the first quarter is left for caches to fill. Ends with 1 if a call failed, an
answer was wrong, or one of the three has grown by more than `GROWTH`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from deepmoviematch.indexer.store import Store
from deepmoviematch.server.tools.loadtest import LoadTest, arrivals
from deepmoviematch.server.tools.reach import Reach
from tests.bench import machine
from tests.bench.kill import build, workers_of
from tests.bench.servers import questions, unpinned

GROWTH = {"resident_mib": 5.0, "descriptors": 2, "threads": 2}
"""How much more of each is no growth."""


def main() -> None:
    """Soak, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument(
        "--run", type=Path, required=True, help="run of the trainer to publish again and again"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the ratings.csv of its users")
    parser.add_argument("--seconds", type=float, default=600.0, help="default: %(default)g")
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second (default: %(default)g)")
    parser.add_argument(
        "--every", type=float, default=10.0, help="seconds between swaps (default: %(default)g)"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = soak(chosen, Store(Path(folder) / "store"))
    machine.report(report, chosen.json, shown=True)
    sys.exit(not report["passed"])


def soak(chosen: argparse.Namespace, store: Store) -> dict[str, Any]:
    """The whole time."""
    build(chosen.run, store).wait()
    with unpinned(store.folder, workers=2) as server:
        workers = workers_of(server.port)
        test = LoadTest(Reach(server.address), questions(server, chosen.data, chosen.seed), connections=8)
        over = threading.Event()
        samples: dict[int, list[dict[str, float]]] = {worker: [] for worker in workers}
        helpers = [
            threading.Thread(target=watch, args=(samples, over)),
            threading.Thread(target=publish, args=(chosen, store, over)),
        ]
        for helper in helpers:
            helper.start()
        measured = test.run(arrivals(chosen.rate, chosen.seconds, seed=chosen.seed))
        over.set()
        for helper in helpers:
            helper.join()
        alive = workers_of(server.port) == workers
    figures = {
        name: [quarters([sample[name] for sample in each]) for each in samples.values()] for name in GROWTH
    }
    grown = {
        name: max(last - second for second, last in quarters_of) for name, quarters_of in figures.items()
    }
    outcomes = Counter(measured.outcomes)
    summary = measured.summary(test.seconds)
    return {
        "seconds": chosen.seconds,
        "rate": chosen.rate,
        "seed": chosen.seed,
        "calls": len(measured.outcomes),
        "outcomes": dict(outcomes),
        "faults": dict(measured.faults),
        "generations": len(measured.generations),
        "latency_ms": summary["calls"]["all"]["latency_ms"],
        "second_and_last_quarter_by_worker": figures,
        "grown": grown,
        "passed": alive
        and set(outcomes) == {"OK"}
        and all(grown[name] <= most for name, most in GROWTH.items()),
    }


def quarters(values: list[float]) -> tuple[float, float]:
    """Medians of the second and the last quarter."""
    length = len(values) // 4
    return statistics.median(values[length : 2 * length]), statistics.median(values[-length:])


def publish(chosen: argparse.Namespace, store: Store, over: threading.Event) -> None:
    """Publish now and then, by the indexer's own command line, and collect what is old."""
    while not over.wait(chosen.every):
        build(chosen.run, store).wait()
        command = [sys.executable, "-m", "deepmoviematch.indexer", "gc", "--store", str(store.folder)]
        subprocess.run([*command, "--keep", "3"], check=True, stdout=subprocess.DEVNULL)


def watch(samples: dict[int, list[dict[str, float]]], over: threading.Event) -> None:
    """Take down what each worker holds, once a second."""
    while not over.is_set():
        for worker, taken in samples.items():
            folder = Path(f"/proc/{worker}")
            lines = (folder / "status").read_text().splitlines()
            facts = {
                name: value.split()[0]
                for name, _, value in (line.partition(":") for line in lines)
                if value.split()
            }
            taken.append(
                {
                    "resident_mib": int(facts["VmRSS"]) / 1024,
                    "threads": int(facts["Threads"]),
                    "descriptors": len(os.listdir(folder / "fd")),
                }
            )
        time.sleep(1.0)


if __name__ == "__main__":
    main()
