"""How a fit grows with the data: time and memory on made-up ratings of MovieLens' sizes and skew.

    python -m tests.bench.growth [--sizes ml-100k ml-1m ml-25m] [--json PATH] [--set NAME=VALUE]

Each size is made up (`made_up.py`) and fitted with the default recipe in a process of its own,
one after the other. `top` is the share of the ratings that the most rated tenth of the items
takes. Peak memory is of the whole process, TensorFlow and the ratings included; what it held before
the fit is said too. Below each size its phases: epochs, and seconds of each with its validation;
the rest is teacher, start, transitions, figures. An epoch's steps are bounded, so that its time
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

from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.recipe import RetrievalRecipe, load_recipe
from tests.bench import machine, made_up, synthetic

SIZES = {
    "ml-100k": (100_000, 943, 1_682),
    "ml-1m": (1_000_209, 6_040, 3_706),
    "ml-10m": (10_000_054, 69_878, 10_677),
    "ml-25m": (25_000_095, 162_541, 62_423),
}
"""Ratings, users and items of what is imitated."""


def main() -> None:
    """Fit in one process for each size, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="default: all")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, as JSON")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        settings = {name: json.loads(value) for name, value in (each.split("=") for each in chosen.set)}
        print(json.dumps(_fitted(chosen.sizes[0], chosen.seed, settings)))
        return
    print(
        f"{'ratings':>11} {'users':>8} {'items':>7} {'top':>5} {'fit s':>7} {'CPU s':>7} {'held MiB':>8} "
        f"{'peak':>8}  teacher",
        flush=True,
    )
    results = []
    for size in chosen.sizes:
        command = [sys.executable, "-m", "tests.bench.growth", "--child", "--sizes", size]
        command += ["--seed", str(chosen.seed)]
        command += [part for setting in chosen.set for part in ("--set", setting)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        row = json.loads(said.splitlines()[-1])
        results.append(row)
        print(
            f"{row['ratings']:>11,} {row['users']:>8,} {row['items']:>7,} {row['top']:>5.0%} "
            f"{row['fit_seconds']:>7.0f} {row['cpu_seconds']:>7.0f} {row['before_mib']:>8.0f} "
            f"{row['peak_mib']:>8.0f}  {row['teacher']}",
            flush=True,
        )
        for phase, epochs in row["phases"].items():
            print(f"{'':>11} {phase:<16} {epochs['epochs']:>3} epochs of {epochs['seconds_each']:.1f} s")
    machine.report({"seed": chosen.seed, "results": results}, chosen.json)


def _fitted(size: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    from deepmoviematch.trainer.quiet import import_tensorflow  # noqa: PLC0415 - the parent needs none

    import_tensorflow()
    from deepmoviematch.trainer.fit import fit_retrieval  # noqa: PLC0415

    count, users, items = SIZES[size]
    catalogue = synthetic.catalogue(np.random.default_rng(seed), items)
    started = time.perf_counter()
    ratings = made_up.ratings(count, users, items, seed)
    made = time.perf_counter() - started
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
        "users": users,
        "items": items,
        "top": top_share(ratings),
        "made_in_seconds": made,
        "fit_seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - used,
        "before_mib": before,
        "peak_mib": _peak_mib(),
        "teacher": _teacher(ratings),
        "phases": phases,
        "settings": settings,
    }


def top_share(ratings: Ratings) -> float:
    """Share of the ratings that the most rated tenth of the rated items takes."""
    counts = np.sort(np.bincount(ratings.items))[::-1]
    return float(counts[: (counts > 0).sum() // 10].sum() / counts.sum())


def _teacher(ratings: Ratings) -> str:
    from deepmoviematch.trainer.models.teacher import is_exact  # noqa: PLC0415 - with the trainer

    rated = len(np.unique(ratings.items))
    return "EASE" if is_exact(len(ratings.user_ids), 2 * rated, rated) else "EASE, low rank"


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
