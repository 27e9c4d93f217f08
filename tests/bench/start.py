"""How soon the server serves, and how much memory it takes, as a table and as JSON.

    python -m tests.bench.start --store STORE [--workers 1 2] [--json PATH]

Time runs from the start of the process until health says SERVING. Memory is read from
each process that answers, once it has answered a hundred calls: `rss` is all that it
has in RAM, `private` what no other process has too.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deepmoviematch.v1 import recommender_pb2 as pb
from tests.bench import machine
from tests.bench.servers import Running, children, serving, stub

TARGETS = {"seconds": 1.0, "rss_mib": 150}
CALLS = 100


def main() -> None:
    """Measure, print, write."""
    parser = machine.parser(__doc__, seed=None)
    parser.add_argument("--store", type=Path, required=True, help="a store with a real generation")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    chosen = parser.parse_args()
    results = []
    for workers in chosen.workers:
        rounds = [_start(chosen.store, workers) for _ in range(chosen.rounds)]
        result: dict[str, Any] = {"workers": workers} | {
            name: statistics.median(each[name] for each in rounds) for name in rounds[0]
        }
        results.append(result | {"rounds": rounds})
        print(
            f"{workers} worker(s): SERVING after {result['seconds']:.2f} s (median of {chosen.rounds}); "
            f"the largest has {result['rss_mib']:.0f} MiB, of which {result['private_mib']:.0f} MiB private",
            flush=True,
        )
    machine.report({"targets": TARGETS, "results": results}, chosen.json)


def _start(store: Path, workers: int) -> dict[str, float]:
    start = time.perf_counter()
    with serving(store, "--workers", str(workers)) as server:
        _await_serving(server)
        seconds = time.perf_counter() - start
        with stub(server) as stubs:
            for _ in range(CALLS):
                stubs.Recommend(pb.RecommendRequest())
        answering = children(server) if workers > 1 else [server]
        memory = [each.resident_mib for each in answering]
    return {"seconds": seconds} | {
        f"{name}_mib": max(each[name] for each in memory) for name in ("rss", "private")
    }


def _await_serving(server: Running) -> None:
    with grpc.insecure_channel(server.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for change in health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=30):
            if change.status == health_pb2.HealthCheckResponse.SERVING:
                return


if __name__ == "__main__":
    main()
