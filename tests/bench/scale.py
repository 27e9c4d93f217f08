"""How a search grows with the catalogue, exact, by lists and by graph, with and without filters.

    python -m tests.bench.scale [--sizes 1700 10000 100000 1000000] [--json PATH]

Vectors are made up, in clusters, and queries lie near items. Times are of one query at
a time on one core, as the server asks, with the median and 99th percentile of wall
time, and queries per second of CPU time. Recall counts a hit that scores no less than
the true tenth. A filter lets rows pass at random, one in so many. What "auto" would
take is marked with an asterisk.
"""

import os
import time
from typing import Any

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats
from deepmoviematch.indexer.build import kth_best, recall
from deepmoviematch.indexer.search.approximate import ApproximateIndex
from deepmoviematch.indexer.search.kinds import EXACT_UP_TO, index_of
from deepmoviematch.indexer.search.vectors import FlatIndex, VectorIndex
from tests.bench import machine, synthetic
from tests.indexer.selections import selected

SIZES = [1_700, 10_000, 100_000, 1_000_000]
SHARES = [1.0, 0.5, 0.1, 0.01, 0.001]
K = 10
QUERIES = 200
LARGEST_EXACT_SECONDS = 2.0
"""Of measuring one cell; fewer queries are asked where a search is slow."""


def main() -> None:
    """Measure, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="default: %(default)s")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(
        f"{'items':>9} {'index':<6} {'build s':>8} {'MiB':>6} {'passes':>7} {'p50 us':>8} {'p99 us':>8} "
        f"{'per CPU-s':>9} {'recall@10':>9}  mode"
    )
    results = []
    for size in chosen.sizes:
        random = np.random.default_rng(chosen.seed)
        vectors = synthetic.clustered(random, size)
        queries = _near(random, vectors)
        for choice in ("exact", "ivf", "hnsw"):
            results += _measure(choice, vectors, queries, random)
    machine.report({"seed": chosen.seed, "results": results}, chosen.json)


def _near(random: np.random.Generator, vectors: Floats) -> Floats:
    """Queries that differ from items as users do: by about as much as items of a cluster differ."""
    chosen = vectors[random.integers(len(vectors), size=QUERIES)]
    queries = chosen + random.normal(size=chosen.shape) * synthetic.SPREAD / chosen.shape[1] ** 0.5
    units: Floats = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    return units


def _measure(
    choice: str, vectors: Floats, queries: Floats, random: np.random.Generator
) -> list[dict[str, Any]]:
    start = time.perf_counter()
    # The breadth is settled on other queries than those that are measured.
    others = _near(random, vectors)
    kth = kth_best(vectors, others)
    index = index_of(vectors, choice, lambda made: recall(made, others, kth))
    built = time.perf_counter() - start
    mib = len(index.to_bytes()) / 2**20
    truth = FlatIndex.of(vectors)
    automatic = choice == ("exact" if len(vectors) <= EXACT_UP_TO else "ivf")
    rows = []
    for share in SHARES:
        allowed = None if share == 1 else random.random(len(vectors)) < share
        row = {
            "items": len(vectors),
            "index": index.kind,
            "automatic": automatic,
            "breadth": index.breadth if isinstance(index, ApproximateIndex) else None,
            "build_seconds": round(built, 2),
            "mib": round(mib, 1),
            "share_that_passes": share,
            **_timed(index, queries, allowed),
            "recall_at_10": _recall(index, truth, queries, allowed),
        }
        rows.append(row)
        print(
            f"{row['items']:>9} {row['index'] + '*' * automatic:<6} {row['build_seconds']:>8} "
            f"{row['mib']:>6} {share:>7.1%} {row['p50_us']:>8.1f} {row['p99_us']:>8.1f} "
            f"{row['per_cpu_second']:>9.0f} {row['recall_at_10']:>9.4f}  {row['mode']}",
            flush=True,
        )
    return rows


def _timed(index: VectorIndex, queries: Floats, allowed: Flags | None) -> dict[str, Any]:
    def ask(query: Floats) -> bool:
        if allowed is None:
            return index.nearest(query[None], [K])[0].exact
        return index.search(query[None], K, allowed=selected(allowed)).exact

    exact = [ask(query) for query in queries[:5]]  # warms up
    seconds: list[float] = []
    used, until = time.process_time(), time.perf_counter() + LARGEST_EXACT_SECONDS
    for query in queries:
        start = time.perf_counter()
        ask(query)
        seconds.append(time.perf_counter() - start)
        if seconds[-1] + start > until:
            break
    used = time.process_time() - used
    return {
        "queries": len(seconds),
        "p50_us": 1e6 * float(np.percentile(seconds, 50)),
        "p99_us": 1e6 * float(np.percentile(seconds, 99)),
        "per_cpu_second": len(seconds) / used,
        "mode": "exact" if all(exact) else "ann",
    }


def _recall(index: VectorIndex, truth: FlatIndex, queries: Floats, allowed: Flags | None) -> float:
    best = truth.search(queries, K, allowed=selected(allowed)).scores[:, -1:]
    if best.size == 0:  # nothing passes
        return 1.0
    return float((index.search(queries, K, allowed=selected(allowed)).scores >= best - 1e-6).mean())


if __name__ == "__main__":
    main()
