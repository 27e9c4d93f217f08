"""How long reading a large ratings file takes, and how much memory, as one JSON line.

    python tests/bench/load_ratings.py --ratings 25000000

Writes made-up ratings with a skew like MovieLens' (a few movies and users have most
of them) into a temporary folder, reads them as any canonical CSV, and deletes them.
The peak is of the reading process alone.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from deepmoviematch.data.readers import read


def main() -> None:
    """Write, read, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ratings", type=int, default=1_000_000, help="how many (default %(default)s)")
    parser.add_argument("--users", type=int, default=160_000, help="how many at most (default %(default)s)")
    parser.add_argument("--items", type=int, default=60_000, help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the made-up data (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to put the temporary folder")
    chosen = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        # In a process of its own, so that its memory does not count.
        writer = multiprocessing.get_context("spawn").Process(
            target=write, args=(Path(folder), chosen.ratings, chosen.users, chosen.items, chosen.seed)
        )
        writer.start()
        writer.join()
        if writer.exitcode != 0:
            sys.exit("the made-up data could not be written")
        size = (Path(folder) / "ratings.csv").stat().st_size
        start = time.perf_counter()
        ratings = read(Path(folder)).ratings
        seconds = time.perf_counter() - start

    line = {
        "ratings": len(ratings),
        "users": len(ratings.user_ids),
        "items": chosen.items,
        "seed": chosen.seed,
        "file_mib": round(size / 2**20, 1),
        "seconds": round(seconds, 2),
        "seconds_per_million": round(1e6 * seconds / len(ratings), 3),
        "peak_rss_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
        "command": " ".join(["python", *sys.argv]),
    }
    print(json.dumps(line))


def write(folder: Path, ratings: int, users: int, items: int, seed: int) -> None:
    """Write about as many distinct made-up ratings as asked for, never more."""
    random = np.random.default_rng(seed)
    activity = random.lognormal(sigma=1.3, size=users)
    popularity = 1 / np.arange(20, items + 20) ** 0.9
    drawn = int(ratings * 1.5)  # popular pairs come again and again
    owners = np.searchsorted(np.cumsum(activity) / activity.sum(), random.random(drawn))
    rated = np.searchsorted(np.cumsum(popularity) / popularity.sum(), random.random(drawn))
    pairs = np.unique(owners * items + rated)
    pairs = np.sort(random.permutation(pairs)[:ratings])
    table = pa.table(
        {
            "userId": pairs // items + 1,
            "movieId": pairs % items + 1,
            "rating": random.integers(1, 11, len(pairs)) / 2,
            "timestamp": random.integers(800_000_000, 1_600_000_000, len(pairs)),
        }
    )
    csv.write_csv(table, folder / "ratings.csv")
    rows = [f"{item},Movie {item} ({1930 + item % 90}),Drama|Comedy" for item in range(1, items + 1)]
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *rows]) + "\n")


if __name__ == "__main__":
    main()
