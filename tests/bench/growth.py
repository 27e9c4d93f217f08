"""How a fit grows with the data: time and memory on made-up ratings with MovieLens' skew.

    python -m tests.bench.growth [--ratings 1000000 25000000] [--items 60000] [--json PATH] [--set NAME=VALUE]

Each size is made up and fitted with the default recipe in a process of its own, one after the
other. Users rate as often as lognormal chance says (median 70, mean about 150, as in ml-25m),
items by a power of their rank, within one of some tastes; times are in order. Peak memory is of
the whole process, TensorFlow and the ratings included; what it held before the fit is said too.
Epochs are timed whole, with their validation. An epoch's steps are bounded, so that its time
stops growing at 16,384 users (taste) and 65,536 histories (order).
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from deepmoviematch.data.tables import Catalogue, Ratings
from deepmoviematch.trainer.recipe import RetrievalRecipe, load_recipe
from tests.bench import machine, synthetic

SIZES = [1_000_000, 25_000_000]
ITEMS = 60_000
MEAN_RATINGS = 154
"""Of a user, as in ml-25m."""

TASTES = 20
SKEW = 0.9
"""Exponent of the rank of an item: the most rated tenth gets about 85 % of the ratings."""


def main() -> None:
    """Fit in one process for each size, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument("--ratings", type=int, nargs="+", default=SIZES, help="default: %(default)s")
    parser.add_argument("--items", type=int, default=ITEMS, help="default: %(default)s")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, as JSON")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        settings = {name: json.loads(value) for name, value in (each.split("=") for each in chosen.set)}
        print(json.dumps(_fitted(chosen.ratings[0], chosen.items, chosen.seed, settings)))
        return
    print(
        f"{'ratings':>11} {'users':>8} {'items':>7} {'fit s':>7} {'CPU s':>7} {'held MiB':>8} {'peak':>8}",
        flush=True,
    )
    results = []
    for size in chosen.ratings:
        command = [sys.executable, "-m", "tests.bench.growth", "--child", "--ratings", str(size)]
        command += ["--items", str(chosen.items), "--seed", str(chosen.seed)]
        command += [part for setting in chosen.set for part in ("--set", setting)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        row = json.loads(said.splitlines()[-1])
        results.append(row)
        print(
            f"{row['ratings']:>11,} {row['users']:>8,} {row['items']:>7,} {row['fit_seconds']:>7.0f} "
            f"{row['cpu_seconds']:>7.0f} {row['before_mib']:>8.0f} {row['peak_mib']:>8.0f}",
            flush=True,
        )
        for phase, epochs in row["phases"].items():
            print(f"{'':>11} {phase:<8} {epochs['epochs']:>3} epochs of {epochs['seconds_each']:.1f} s")
    machine.report({"seed": chosen.seed, "results": results}, chosen.json)


def made_up(size: int, items: int, seed: int) -> tuple[Catalogue, Ratings]:
    """A catalogue of so many items and about `size` ratings of it."""
    random = np.random.default_rng(seed)
    users = max(size // MEAN_RATINGS, 10)
    wanted = np.clip(random.lognormal(np.log(70), 1.25, users), 20, items // 20)
    counts = np.maximum(wanted * size / wanted.sum(), 1).astype(np.int64)
    popular = np.cumsum((1.0 + np.arange(items)) ** -SKEW)
    owners = np.repeat(np.arange(users), counts)
    ranks = np.searchsorted(popular, random.random(len(owners)) * popular[-1])
    # Seven in ten ratings are of the user's own taste: of every so-manyth item.
    own = random.random(len(owners)) < 0.7
    ranks = np.where(own, ranks - ranks % TASTES + owners % TASTES, ranks) % items
    pairs = np.unique(owners * items + ranks)
    owners, ranks = np.divmod(pairs, items)
    likes = random.random(len(pairs)) < np.where(ranks % TASTES == owners % TASTES, 0.65, 0.35)
    stars = np.where(
        likes, random.choice([4.0, 4.5, 5.0], len(pairs)), random.choice([2.0, 3.0, 3.5], len(pairs))
    )
    places = random.permutation(items)
    return synthetic.catalogue(random, items), Ratings.from_columns(
        tuple(f"u{user}" for user in range(users)),
        owners.astype(np.int32),
        places[ranks].astype(np.int32),
        stars.astype(np.float32),
        random.permutation(len(pairs)),
    )


def _fitted(size: int, items: int, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    from deepmoviematch.trainer.quiet import import_tensorflow  # noqa: PLC0415 - the parent needs none

    import_tensorflow()
    from deepmoviematch.trainer.fit import fit_retrieval  # noqa: PLC0415

    catalogue, ratings = made_up(size, items, seed)
    recipe = load_recipe("retrieval", settings)
    assert isinstance(recipe, RetrievalRecipe)
    before, started, used = _peak_mib(), time.perf_counter(), time.process_time()
    fitted = fit_retrieval(catalogue, ratings, recipe)
    phases = {
        phase: {"epochs": len(rows), "seconds_each": float(np.mean([row["seconds"] for row in rows]))}
        for phase, rows in fitted.curves.items()
    }
    return {
        "ratings": len(ratings),
        "users": len(ratings.user_ids),
        "items": items,
        "fit_seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - used,
        "before_mib": before,
        "peak_mib": _peak_mib(),
        "phases": phases,
        "settings": settings,
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
