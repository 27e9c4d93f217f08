"""What callers notice of a new generation, as JSON.

    python -m tests.bench.swap --run RUN --data DIR [--swaps 20] [--rate 200] [--workers 1] [--json PATH]

A server is asked at a steady rate while generations are published one after the other, each
with other weights, so that their answers differ. Every answer is compared with what its
generation must answer, computed afterwards. Latencies of calls that were due in the
`SWAP_S` from when a generation begins to be published are compared with those of all the
others of the same run, for both have the same neighbours on the machine.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.build import bundle
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.rpc.service import RecommenderService
from deepmoviematch.server.rpc.tokens import Tokens, read_key
from deepmoviematch.server.tools.loadtest import LoadTest, arrivals
from deepmoviematch.server.tools.reach import Reach
from tests.bench import machine
from tests.bench.servers import questions, unpinned

EVERY_S = 4.0
SWAP_S = 2.0
NOISE = 0.05
"""Of the user tower's weights, relative; different in every generation."""


def main() -> None:
    """Measure, print, write; ends with 1 if an answer failed, was wrong or was mixed."""
    parser = machine.parser(__doc__)
    parser.add_argument(
        "--run", type=Path, required=True, help="run of the trainer to publish again and again"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the ratings.csv of its users")
    parser.add_argument("--swaps", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=200.0, help="calls a second (default: %(default)g)")
    parser.add_argument("--workers", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--publish-to", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.publish_to:
        publish(chosen)
        return
    with tempfile.TemporaryDirectory() as folder:
        report = measure(chosen, Path(folder) / "store")
    machine.report(report, chosen.json, shown=True)
    sys.exit(bool(report["mixed"] or report["not_answered"]))


def publish(chosen: argparse.Namespace) -> None:
    """Publish one generation for each line of standard input; runs in a process of its own."""
    os.nice(19)  # the indexer of a busy machine
    run, store = Run.load(chosen.run), Store(chosen.publish_to)
    random = np.random.default_rng(chosen.seed)
    bundles = []
    for _ in range(chosen.swaps + 1):
        arrays = {
            name: (array * (1 + NOISE * random.normal(size=array.shape))).astype(array.dtype)
            for name, array in run.user_tower.arrays.items()
        }
        tower = Weights(run.user_tower.settings, arrays)
        bundles.append(bundle(replace(run, user_tower=tower)))
    for each in bundles:
        print(store.publish(*each).id, flush=True)
        sys.stdin.readline()


def measure(chosen: argparse.Namespace, store: Path) -> dict[str, Any]:
    """One run with all the swaps."""
    me = [sys.executable, "-m", "tests.bench.swap", *sys.argv[1:], "--publish-to", str(store)]
    pipe = subprocess.PIPE
    with subprocess.Popen(me, stdin=pipe, stdout=pipe, text=True, bufsize=1) as publisher:
        assert publisher.stdout is not None
        published = [publisher.stdout.readline().strip()]
        key = store.with_name("key")
        key.write_bytes(secrets.token_bytes(32))
        with unpinned(store, chosen.workers, "--page-token-key", str(key)) as server:
            asked = questions(server, chosen.data, chosen.seed)
            answers: list[tuple[Any, Any]] = []
            reach = Reach(server.address)
            test = LoadTest(reach, asked, connections=8, heed=lambda *each: answers.append(each))
            due = list(arrivals(chosen.rate, (chosen.swaps + 1) * EVERY_S, seed=chosen.seed))
            swaps: list[float] = []
            thread = threading.Thread(target=swap, args=(publisher, published, swaps, time.perf_counter()))
            thread.start()
            measured = test.run(due)
            thread.join()
    at = np.array(measured.due_s)
    during = np.any([(at >= swap) & (at < swap + SWAP_S) for swap in swaps], axis=0)
    latency_ms = 1e3 * np.array(measured.latency_s)
    p99 = {
        name: float(np.quantile(latency_ms[chosen_ones], 0.99))
        for name, chosen_ones in (("swapping", during), ("otherwise", ~during))
    }
    return {
        "swaps": len(swaps),
        "rate": chosen.rate,
        "workers": chosen.workers,
        "seed": chosen.seed,
        "calls": len(measured.outcomes),
        "not_answered": len(measured.outcomes) - measured.outcomes.count("OK"),
        "outcomes": {name: measured.outcomes.count(name) for name in sorted(set(measured.outcomes))},
        "faults": dict(measured.faults),
        "mixed": sum(map(Judge(store, Tokens(read_key(key))), answers)),
        "generations_seen": len(measured.generations),
        "p50_ms": {
            "swapping": float(np.median(latency_ms[during])),
            "otherwise": float(np.median(latency_ms[~during])),
        },
        "p99_ms": p99,
        "p99_ratio": p99["swapping"] / p99["otherwise"],
    }


def swap(publisher: "subprocess.Popen[str]", published: list[str], swaps: list[float], began: float) -> None:
    """Have the publisher publish, every `EVERY_S` seconds, until it has no more."""
    assert publisher.stdin is not None
    assert publisher.stdout is not None
    while True:
        time.sleep(EVERY_S - (time.perf_counter() - began) % EVERY_S)
        at = time.perf_counter() - began
        publisher.stdin.write("next\n")
        line = publisher.stdout.readline().strip()
        if not line:
            return
        published.append(line)
        swaps.append(at)


class Judge:
    """Compares answers with what their generations must answer."""

    def __init__(self, store: Path, tokens: Tokens) -> None:
        threadpool_limits(1)  # as in the server: two threads add in another order, and round otherwise
        self._store, self._tokens = Store(store), tokens
        self._services: dict[str, RecommenderService] = {}

    def __call__(self, answer: tuple[Any, Any]) -> bool:
        """Whether the answer of one generation has anything that this generation does not say."""
        question, response = answer
        name = question.generation(response)
        if name not in self._services:
            current = Current()
            current.set(Recommender(self._store.load(name)))
            self._services[name] = RecommenderService(current, self._tokens)
        reply = self._services[name].ask(question.call, question.request.SerializeToString())
        return bool(type(response).FromString(reply.contents) != response)


if __name__ == "__main__":
    main()
