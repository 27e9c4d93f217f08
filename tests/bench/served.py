"""How whole requests grow with the catalogue, with and without filters, as a table and as JSON.

    python -m tests.bench.served [--sizes 1700 10000 100000 1000000] [--json PATH]

Catalogues are made up (`synthetic`), with towers of the default recipe's shape, and served on a
core of their own. A user rated five items and asks for ten. Latency is that of one caller who asks
one thing after the other, each another; requests per second of the server's CPU time are those
under load (h2load), of one request again and again, which is answered anew each time. `build` is
all that it takes to publish; memory is that of the server, with what it shares with others.
"""

import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.rpc.service import NAME
from deepmoviematch.v1 import recommender_pb2 as pb
from tests.bench import h2load, machine, synthetic
from tests.bench.floor import rated_five, recall
from tests.bench.servers import Running, serving, stub

SIZES = [1_700, 10_000, 100_000, 1_000_000]
FILTERS = {
    "none": "",
    "50 %": "year >= 1975",
    "10 %": "year >= 2011",
    "1 %": "year = 2000",
    ".1 %": 'year = 2000 AND genres:"Genre 1"',
}
"""What passes, of films of 1930 to 2019 that have each of the genres with a chance of one in ten."""

PROBES = 200
SECONDS = 2.0
"""Of load for each filter, about."""


def main() -> None:
    """Measure, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="default: %(default)s")
    chosen = parser.parse_args()
    h2load.require()
    print(
        f"{'items':>9} {'index':<5} {'build s':>7} {'MiB':>6} {'passes':>6} {'p50 ms':>7} {'p99 ms':>7} "
        f"{'per CPU-s':>9} {'recall@10':>9}"
    )
    results = []
    for size in chosen.sizes:
        with tempfile.TemporaryDirectory() as folder:
            results += _measure(Path(folder) / "store", size, chosen.seed)
    machine.report({"seed": chosen.seed, "results": results}, chosen.json)


def _measure(store: Path, size: int, seed: int) -> list[dict[str, Any]]:
    start = time.perf_counter()
    synthetic.publish(store, size, seed=seed)
    built = time.perf_counter() - start
    generation = Store(store).load()
    rows = []
    with serving(store) as server:
        for name, text in FILTERS.items():
            row: dict[str, Any] = {"items": size, "index": generation.index.kind, "filter": name}
            row |= _served(server, generation, text, random.Random(seed))
            row |= {"build_seconds": built, "rss_mib": server.resident_mib["rss"]}
            rows.append(row)
            print(
                f"{size:>9} {row['index']:<5} {built:>7.1f} {row['rss_mib']:>6.0f} {name:>6} "
                f"{row['p50_ms']:>7.2f} {row['p99_ms']:>7.2f} {row['requests_per_cpu_second']:>9.0f} "
                f"{row['recall_at_10']:>9.4f}",
                flush=True,
            )
    return rows


def _served(server: Running, generation: Generation, text: str, chance: random.Random) -> dict[str, float]:
    questions = [_asked(generation, text, chance) for _ in range(PROBES)]
    with stub(server) as stubs:
        stubs.Recommend(questions[0], wait_for_ready=True, timeout=60)  # which compiles the filter
        answers, seconds = [], []
        for question in questions:
            start = time.perf_counter()
            answers.append(stubs.Recommend(question, timeout=60))
            seconds.append(time.perf_counter() - start)
    amount = max(50, int(SECONDS / float(np.median(seconds))))
    method, size = f"/{NAME}/Recommend", answers[0].ByteSize()
    load = h2load.drive(server, method, questions[0], amount, reply_bytes=size)
    return {
        "p50_ms": 1e3 * float(np.percentile(seconds, 50)),
        "p99_ms": 1e3 * float(np.percentile(seconds, 99)),
        "requests_per_cpu_second": load.requests / load.cpu_seconds,
        "recall_at_10": recall(generation, questions, answers),
    }


def _asked(generation: Generation, text: str, chance: random.Random) -> pb.RecommendRequest:
    request = rated_five(generation, chance)
    request.filter = text
    return request


if __name__ == "__main__":
    main()
