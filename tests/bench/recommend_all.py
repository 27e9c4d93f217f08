"""How fast recommend-all writes, and in how much memory, as a table and as JSON.

    python -m tests.bench.recommend_all --store STORE --data DIR [--users 100000] [--json PATH]

Once for real data and once for made-up users of `SYNTHETIC_ITEMS` made-up items. The
command runs twice in processes of their own: the second finds all parts written, so it
only starts, loads the generation, and reads and checks data and parts. The difference
of their processor times is what ranking and writing took.
"""

import os
import subprocess
import sys
import tempfile
from multiprocessing import Process
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from deepmoviematch.indexer.store import Store
from tests.bench import machine, synthetic
from tests.bench.floor import SYNTHETIC_ITEMS

MEAN_HISTORY = 50
COUNT = 10


def main() -> None:
    """Measure, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument("--store", type=Path, required=True, help="a store with a real generation")
    parser.add_argument("--data", type=Path, required=True, help="the data that it was made of")
    parser.add_argument("--users", type=int, default=100_000, help="made up (default: %(default)s)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        # Apart, as the peak of a process is at least what its parent had when it began.
        making = Process(target=_make, args=(made, chosen.users, chosen.seed))
        making.start()
        making.join()
        results = [
            _measure(chosen.store, chosen.data, made / "real"),
            _measure(made / "store", made / "data", made / "synthetic"),
        ]
    machine.report({"seed": chosen.seed, "count": COUNT, "results": results}, chosen.json)


def _measure(store: Path, data: Path, out: Path) -> dict[str, Any]:
    """The command, and the same again with nothing left to do."""
    first, again = (_run(store, data, out) for _ in range(2))
    users = parquet.read_table(out, columns=["user_id"])["user_id"].combine_chunks().unique()
    seconds = first.ru_utime + first.ru_stime - again.ru_utime - again.ru_stime
    result = {
        "items": len(Store(store).load().catalogue),
        "users": len(users),
        "users_per_cpu_second": len(users) / seconds,
        "cpu_seconds": seconds,
        "cpu_seconds_to_read_and_check": again.ru_utime + again.ru_stime,
        "peak_mib": first.ru_maxrss / 1024,
        "peak_mib_without_ranking": again.ru_maxrss / 1024,
    }
    reading, without = result["cpu_seconds_to_read_and_check"], result["peak_mib_without_ranking"]
    print(
        f"{result['items']:>6} items, {result['users']:>7} users: "
        f"{result['users_per_cpu_second']:.0f} users a CPU-second, besides {reading:.1f} s to start, read "
        f"and check; {result['peak_mib']:.0f} MiB at most, {without:.0f} MiB without ranking",
        flush=True,
    )
    return result


def _run(store: Path, data: Path, out: Path) -> Any:
    """What a process used (getrusage) that ran recommend-all."""
    words = ["--store", str(store), "--data", str(data), "--out", str(out), "--count", str(COUNT), "--resume"]
    command = [sys.executable, "-m", "deepmoviematch.server", "recommend-all", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)} must end well, got status {os.waitstatus_to_exitcode(status)}")
    return usage


def _make(folder: Path, users: int, seed: int) -> None:
    """Make a store, and ratings by so many users, some items far more popular than others."""
    synthetic.publish(folder / "store", SYNTHETIC_ITEMS, seed=seed)
    random = np.random.default_rng(seed)
    films = synthetic.catalogue(random, SYNTHETIC_ITEMS)
    weights = 1 / np.arange(10, SYNTHETIC_ITEMS + 10)
    owners = np.repeat(np.arange(users), random.geometric(1 / MEAN_HISTORY, size=users))
    items = random.choice(SYNTHETIC_ITEMS, size=len(owners), p=weights / weights.sum())
    pairs = np.unique(owners * SYNTHETIC_ITEMS + items)
    stars = random.integers(1, 11, size=len(pairs)) / 2
    times = random.integers(10**9, size=len(pairs))
    data = folder / "data"
    data.mkdir()
    users_of, items_of = pairs // SYNTHETIC_ITEMS + 1, pairs % SYNTHETIC_ITEMS + 1
    columns = {"userId": users_of, "movieId": items_of, "rating": stars, "timestamp": times}
    csv.write_csv(pa.table(columns), data / "ratings.csv")
    titles = [f"{title} (1999)" for title in films.titles]
    movies = {"movieId": films.item_ids, "title": titles, "genres": ["Drama"] * len(titles)}
    csv.write_csv(pa.table(movies), data / "movies.csv")


if __name__ == "__main__":
    main()
