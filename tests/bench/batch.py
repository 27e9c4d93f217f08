"""What a request costs in a batch and alone, as a table and as JSON.

    python -m tests.bench.batch --store STORE [--sizes 1 8 64 256] [--json PATH]

One server takes single Recommend calls and batches of the same questions in turn, from
h2load on another core. What counts is requests per second of the server's CPU time,
all of it: reading, gRPC and the reply included. Each round has other questions.
"""

import argparse
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.rpc.service import NAME
from deepmoviematch.v1 import recommender_pb2 as pb
from tests.bench import h2load, machine, synthetic
from tests.bench.floor import SYNTHETIC_ITEMS, rated_five
from tests.bench.servers import Running, serving, stub

TARGET = {"size": 64, "ratio": 3.0}
STREAMS = 1
"""Batches at once over each connection: they are long, and too many that wait are refused."""


def main() -> None:
    """Measure, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument("--store", type=Path, required=True, help="a store with a real generation")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 64, 256], help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument(
        "--requests", type=int, default=4096, help="of a round and size (default: %(default)s)"
    )
    chosen = parser.parse_args()
    h2load.require()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "store"
        synthetic.publish(made, SYNTHETIC_ITEMS, seed=chosen.seed)
        for store in (chosen.store, made):
            generation = Store(store).load()
            with serving(store) as server:
                results.append(_measure(server, generation, chosen))
    machine.report({"seed": chosen.seed, "target": TARGET, "results": results}, chosen.json)


def _measure(server: Running, generation: Generation, chosen: argparse.Namespace) -> dict[str, Any]:
    chance = random.Random(chosen.seed)
    rounds, alike = [], []
    with stub(server) as stubs:
        for _ in range(chosen.rounds + 1):  # the first warms up
            questions = [rated_five(generation, chance) for _ in range(max(chosen.sizes))]
            alone = [stubs.Recommend(question) for question in questions]
            speeds = {"alone": _speed(server, questions[0], alone[0], chosen.requests)}
            for size in chosen.sizes:
                batch = pb.BatchRecommendRequest(requests=questions[:size])
                answer = stubs.BatchRecommend(batch)
                alike.append(list(answer.responses) == alone[:size])
                speeds[str(size)] = _speed(server, batch, answer, chosen.requests)
            rounds.append(speeds)
    del rounds[0]
    result: dict[str, Any] = {
        "items": len(generation.catalogue),
        "index": generation.index.kind,
        "requests_per_cpu_second": {
            name: statistics.median(each[name] for each in rounds) for name in rounds[0]
        },
        "ratio": {
            size: statistics.median(each[str(size)] / each["alone"] for each in rounds)
            for size in chosen.sizes
        },
        "batches_equal_to_single_calls": statistics.mean(alike),
        "rounds": rounds,
    }
    ratios = ", ".join(f"{size}: {ratio:.1f} x" for size, ratio in result["ratio"].items())
    print(
        f"{result['items']:>6} items, {result['index']:<5} "
        f"{result['requests_per_cpu_second']['alone']:>6.0f} requests a CPU-second alone; "
        f"in batches of {ratios}; "
        f"{result['batches_equal_to_single_calls']:.0%} of the batches equal to single calls, bit for bit",
        flush=True,
    )
    return result


def _speed(server: Running, request: Any, answer: Any, requests: int) -> float:
    """Requests per second of CPU time, each call being `request`."""
    size = len(answer.responses) if isinstance(answer, pb.BatchRecommendResponse) else 1
    path = f"/{NAME}/{request.DESCRIPTOR.name.removesuffix('Request')}"
    calls, expected = max(requests // size, 2 * h2load.CONNECTIONS), answer.ByteSize()
    load = h2load.drive(server, path, request, calls, reply_bytes=expected, streams=STREAMS)
    return load.requests * size / load.cpu_seconds


if __name__ == "__main__":
    main()
