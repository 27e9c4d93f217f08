"""How much more several workers serve than one, as a table and as JSON.

    python -m tests.bench.workers --store STORE [--workers 1 2 4] [--json PATH]

There is a core for each worker, and the load (h2load) has others, twice as many. Where no core is left
for it, it takes its share of the workers', and what it takes, a tenth or so, they lack. More workers than
cores are left out. Every request is answered anew. Rounds alternate between the numbers of workers.
"""

import os
import random
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deepmoviematch.indexer.store import Store
from deepmoviematch.server.rpc.service import NAME
from tests.bench import h2load, machine
from tests.bench.floor import rated_five
from tests.bench.servers import Running, children, serving, stub

TARGET = 1.7
"""Of two workers beside one."""

CONNECTIONS = 10
"""For each worker: the kernel deals them out by chance, so they must be many, and too few for a worker
that got most of them to refuse any.
"""


def main() -> None:
    """Measure, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument("--store", type=Path, required=True, help="a store with a generation")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=3, help="of a round (default: %(default)s)")
    chosen = parser.parse_args()
    h2load.require()
    cores = sorted(os.sched_getaffinity(0))
    counts = [count for count in chosen.workers if count <= len(cores)]
    if 1 not in counts or len(counts) < 2:
        parser.error(
            f"one worker and more need as many cores, got {chosen.workers} workers, {len(cores)} cores"
        )
    question = rated_five(Store(chosen.store).load(), random.Random(chosen.seed))
    with ExitStack() as stack:
        servers = {
            count: stack.enter_context(
                serving(chosen.store, "--workers", str(count), cpu=",".join(map(str, cores[:count])))
            )
            for count in counts
        }
        rounds = [
            {
                count: _served(server, question, count, chosen.seconds, cores[count : 3 * count] or cores)
                for count, server in servers.items()
            }
            for _ in range(-1, chosen.rounds)  # the first warms up
        ][1:]
    results = []
    for count in counts:
        row: dict[str, Any] = {"workers": count} | {
            name: statistics.median(each[count][name] for each in rounds) for name in rounds[0][count]
        }
        row["ratio"] = statistics.median(each[count]["per_s"] / each[1]["per_s"] for each in rounds)
        results.append(row)
        print(
            f"{count} worker(s): {row['per_s']:.0f} requests/s, {row['ratio']:.2f} x one; "
            f"{row['per_cpu_s']:.0f} a CPU-second",
            flush=True,
        )
    figures = {"seed": chosen.seed, "target_of_two": TARGET, "results": results, "rounds": rounds}
    machine.report(figures, chosen.json)


def _served(
    server: Running, question: Any, count: int, seconds: int, load_cores: list[int]
) -> dict[str, float]:
    with stub(server) as stubs:
        size = stubs.Recommend(question, wait_for_ready=True).ByteSize()
    workers = children(server) if count > 1 else [server]
    before = sum(each.cpu_seconds for each in workers)
    load = h2load.drive_for(
        server,
        f"/{NAME}/Recommend",
        question,
        seconds,
        reply_bytes=size,
        connections=CONNECTIONS * count,
        cores=load_cores,
    )
    used = sum(each.cpu_seconds for each in workers) - before
    return {"per_s": load.requests / load.seconds, "per_cpu_s": load.requests / used}


if __name__ == "__main__":
    main()
