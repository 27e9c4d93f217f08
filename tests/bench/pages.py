"""What later pages and styled lists cost beside a plain first page, as a table and as JSON.

    python -m tests.bench.pages [--sizes 1700 10000 100000] [--repeats 20] [--json PATH]

Each line is a way to ask a recommender, in one process, for ten results for a user of five
rated items; figures are the median time, and what it is of the plain first page's of the same
catalogue. Catalogues are synthetic; what is asked for in turn goes round all the ways, so that the
noise of the machine meets them alike.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from deepmoviematch.indexer.generation import Generation
from deepmoviematch.server.ranking.question import Listing, Style, Taste
from deepmoviematch.server.ranking.recommender import Recommender
from tests.bench import machine, synthetic

HISTORY, K = 5, 10


def ways(items: int) -> dict[str, Listing]:
    """How to ask, by name."""
    left = items - HISTORY
    return {
        "first page": Listing(K),
        "second page": Listing(K, start=K),
        "page in the middle": Listing(K, start=left // 2),
        "last page": Listing(K, start=left - K),
        "novelty": Listing(K, style=Style(novelty=0.3)),
        "diversity": Listing(K, style=Style(diversity=0.5)),
        "diversity, last place of the pool": Listing(K, start=980, style=Style(diversity=0.5)),
        "diversity, last page": Listing(K, start=left - K, style=Style(diversity=0.5)),
        "5 of a genre": Listing(K, style=Style(max_per_genre=5)),
        "5 of a genre, to the end": Listing(1000, style=Style(max_per_genre=5)),
        "exploration": Listing(K, style=Style(exploration=0.1, seed=b"seed")),
        "everything": Listing(
            K, style=Style(novelty=0.3, diversity=0.5, max_per_genre=50, exploration=0.1, seed=b"seed")
        ),
    }


def main() -> None:
    """Measure, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1700, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=20, help="default: %(default)s")
    chosen = parser.parse_args()
    results = []
    for size in chosen.sizes:
        with tempfile.TemporaryDirectory() as folder:
            generation = synthetic.publish(Path(folder), size, seed=chosen.seed)
            results += measure(generation, chosen.repeats, random.Random(chosen.seed))
    machine.report({"seed": chosen.seed, "repeats": chosen.repeats, "results": results}, chosen.json)


def measure(generation: Generation, repeats: int, chance: random.Random) -> list[dict[str, Any]]:
    """Every way to ask, round after round with another user."""
    recommender, items = Recommender(generation), len(generation.catalogue)
    seconds: dict[str, list[float]] = {name: [] for name in ways(items)}
    for turn in range(-1, repeats):  # the first warms up
        rows = chance.sample(range(items), HISTORY)
        taste = Taste(history={row: chance.choice([1.0, 3.0, 4.0, 5.0]) for row in rows})
        for name, listing in ways(items).items():
            began = time.perf_counter()
            recommender.recommend(taste, listing._replace(excluded=frozenset(rows)))
            if turn >= 0:
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    results = []
    print(f"{items:,} items, {generation.index.kind}")
    for name, median in medians.items():
        ratio = median / medians["first page"]
        print(f"  {name:<34} {1e3 * median:9.3f} ms  {ratio:7.1f} x", flush=True)
        results.append({"items": items, "index": generation.index.kind, "way": name, "ms": 1e3 * median})
        results[-1]["ratio"] = ratio
    return results


if __name__ == "__main__":
    main()
