"""What a filter costs: to compile it, and to answer a request that has one.

    python -m tests.bench.filters --store STORE [--sizes 100000] [--json PATH]

Compiled for the generation of a store and for made-up ones of other sizes. "first" is the
first filter of a generation, for which its fields are made ready; "new" is another filter
after that, and "again" the same one: medians of CPU time. Then one server
takes Recommend calls without a filter and with each of these in turn, from h2load on
another core: requests per second of the server's CPU time, as a share of those without.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.filtering.filters import Filters
from deepmoviematch.server.filtering.syntax import MAX_CONDITIONS, parse
from deepmoviematch.server.rpc.service import NAME
from deepmoviematch.v1 import recommender_pb2 as pb
from tests.bench import h2load, machine, synthetic
from tests.bench.floor import rated_five
from tests.bench.servers import Running, serving, stub

REPEATS = 21


def main() -> None:
    """Measure, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument("--store", type=Path, required=True, help="a store with a real generation")
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000], help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--calls", type=int, default=4000, help="of a round (default: %(default)s)")
    chosen = parser.parse_args()
    h2load.require()
    parse("warm-up")  # which loads the parser
    results = []
    with tempfile.TemporaryDirectory() as folder:
        stores = [chosen.store]
        for size in chosen.sizes:
            stores.append(Path(folder) / str(size))
            synthetic.publish(stores[-1], size, seed=chosen.seed)
        for store in stores:
            generation = Store(store).load()
            texts = _texts(generation)
            compiled = {kind: _compiled(generation, write) for kind, write in texts.items()}
            with serving(store) as server:
                shares = _served(server, generation, texts, chosen)
            results.append(
                {
                    "items": len(generation.catalogue),
                    "index": generation.index.kind,
                    "filters": {kind: compiled[kind] | shares[kind] for kind in texts},
                }
            )
            _show(results[-1])
    machine.report({"seed": chosen.seed, "results": results}, chosen.json)


def _texts(generation: Generation) -> dict[str, Callable[[int], str]]:
    """How to write filters of each kind that differ by a number."""
    catalogue = generation.catalogue
    genre = catalogue.genre_names[int(catalogue.genres.sum(axis=0).argmax())]
    median = int(np.median(catalogue.years[catalogue.years > 0]))
    return {
        "a year": lambda number: f"year >= {median} year != {number}",
        "a genre": lambda number: f'genres:"{genre}" -title:"{number}x"',
        "a title": lambda number: f'title:"{number % 10}" year != {number}',
        "five conditions": lambda number: (
            f'genres:"{genre}" OR year >= {median} AND popularity > 0 NOT title:"{number}x"'
        ),
        "one item": lambda number: f'item_id = "{catalogue.item_ids[number % len(catalogue)]}"',
        "as many titles as may be": lambda number: " OR ".join(
            f'title:"{number + each}"' for each in range(MAX_CONDITIONS)
        ),
    }


def _compiled(generation: Generation, write: Callable[[int], str]) -> dict[str, Any]:
    first, new, again = [], [], []
    for number in range(REPEATS):
        filters = Filters(generation)
        first.append(_seconds(filters, write(1000 + number)))
        new.append(_seconds(filters, write(2001 + number)))
        again.append(_seconds(filters, write(2001 + number), calls=1000))
    timed = {"first": first, "new": new, "again": again}
    passing = filters.allowed(write(2000)).count / len(generation.catalogue)
    return {
        "share_that_passes": passing,
        "compile_ms": {name: 1e3 * statistics.median(each) for name, each in timed.items()},
    }


def _seconds(filters: Filters, text: str, *, calls: int = 1) -> float:
    start = time.process_time()
    for _ in range(calls):
        filters.allowed(text)
    return (time.process_time() - start) / calls


def _served(
    server: Running,
    generation: Generation,
    texts: dict[str, Callable[[int], str]],
    chosen: argparse.Namespace,
) -> dict[str, dict[str, float]]:
    chance = random.Random(chosen.seed)
    shares: dict[str, list[float]] = {kind: [] for kind in texts}
    with stub(server) as stubs:
        for turn in range(chosen.rounds + 1):
            question = rated_five(generation, chance)
            without = _speed(server, question, stubs.Recommend(question), chosen.calls)
            for kind, write in texts.items():
                question.filter = write(2000)
                answer = stubs.Recommend(question)
                speed = _speed(server, question, answer, chosen.calls)
                if turn:  # the first warms up
                    shares[kind].append(speed / without)
    return {kind: {"speed_to_unfiltered": statistics.median(each)} for kind, each in shares.items()}


def _speed(server: Running, question: pb.RecommendRequest, answer: pb.RecommendResponse, calls: int) -> float:
    load = h2load.drive(server, f"/{NAME}/Recommend", question, calls, reply_bytes=answer.ByteSize())
    return load.requests / load.cpu_seconds


def _show(result: dict[str, Any]) -> None:
    print(f"{result['items']:,} items, {result['index']}")
    print(f"  {'filter':<26}{'passes':>8}{'first ms':>10}{'new ms':>10}{'again us':>10}{'to unfiltered':>15}")
    for kind, each in result["filters"].items():
        times = each["compile_ms"]
        print(
            f"  {kind:<26}{each['share_that_passes']:>8.1%}{times['first']:>10.2f}{times['new']:>10.2f}"
            f"{1e3 * times['again']:>10.1f}{each['speed_to_unfiltered']:>15.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
