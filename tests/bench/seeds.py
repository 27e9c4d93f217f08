"""How much the items to be far from should count among the seeds of similar items.

    python -m tests.bench.seeds --run RUN --data DIR [--json PATH]

RUN must have been fitted with `refit=false`, so that there are users whom no vector has learnt
from. Each of them names some likes, and some ratings of 2.5 stars or less; all other items are
ranked, and it is measured how the user's other likes come out: NDCG@100 over the catalogue,
and how often one of them is above one of the other low ratings (AUC). The columns are the
share that a negative item counts where a positive one counts 1.
"""

from pathlib import Path

import numpy as np

from deepmoviematch.data.arrays import Floats, Ints
from deepmoviematch.data.features import LIKE_STARS
from deepmoviematch.data.readers import read
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.towers import item_tower
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation.metrics import ndcg, top_rows
from deepmoviematch.trainer.evaluation.protocols import held_out
from tests.bench import machine

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0)
NAMED = ((1, 1), (3, 1), (3, 2), (5, 3))
"""Likes and low ratings that a user names."""

LOW_STARS = 2.5
LEFT = 3
"""Likes, and low ratings, that must be left to rank."""

ROUNDS = 5
"""Times that every user is asked, with other seeds."""


def main() -> None:
    """Ask, rank, print."""
    parser = machine.parser(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="fitted with refit=false")
    parser.add_argument("--data", type=Path, required=True, help="what it was fitted on")
    chosen = parser.parse_args()
    dataset, run = read(chosen.data), Run.load(chosen.run)
    unseen = held_out(chosen.run, run.provenance, dataset)
    if unseen is None:
        raise TrainingError(f"--run must have been fitted with refit=false, got {chosen.run}")
    tower, ratings = item_tower(run.item_tower), dataset.ratings
    directions = tower.directions(tower.embed(dataset.catalogue))
    users = np.flatnonzero(np.isin(ratings.user_ids, unseen.user_ids))
    rated = [slice(*ratings.offsets[user : user + 2]) for user in users]
    rng = np.random.default_rng(chosen.seed)
    histories = [(ratings.items[rows], ratings.stars[rows]) for rows in rated]
    print("likes low     asked  figure " + " ".join(f"{share:>6}" for share in SHARES))
    found = {}
    for likes, lows in NAMED:
        values = np.array(
            [
                _asked(directions, items, stars, (likes, lows), rng)
                for items, stars in histories
                if (stars >= LIKE_STARS).sum() >= likes + LEFT and (stars <= LOW_STARS).sum() >= lows + LEFT
                for _ in range(ROUNDS)
            ]
        )  # [asked, 2, shares]
        figures = dict(zip(("NDCG", "AUC"), values.mean(axis=0).tolist(), strict=True))
        for name, row in figures.items():
            print(
                f"{likes:>5} {lows:>3} {len(values):>9}  {name:<6} "
                + " ".join(f"{value:>6.3f}" for value in row)
            )
        found[f"{likes} likes, {lows} low"] = {"asked": len(values), "shares": SHARES, **figures}
    machine.report({"seed": chosen.seed, "found": found}, chosen.json)


def _asked(
    directions: Floats, items: Ints, stars: Floats, named: tuple[int, int], rng: np.random.Generator
) -> Floats:
    """[2, shares] NDCG and AUC of one user's other likes."""
    likes, lows = named
    liked, low = (rng.permutation(items[which]) for which in (stars >= LIKE_STARS, stars <= LOW_STARS))
    near, far = directions[liked[:likes]].mean(axis=0), directions[low[:lows]].mean(axis=0)
    wanted = near - np.array(SHARES)[:, None] * far
    scores = (directions @ wanted.T).T  # [shares, N]; cosines but for a factor
    above = (scores[:, liked[likes:], None] > scores[:, None, low[lows:]]).mean(axis=(1, 2))
    scores[:, [*liked[:likes], *low[:lows]]] = -np.inf
    hits = np.isin(top_rows(scores.astype(np.float32), 100), liked[likes:])
    targets = np.full(len(SHARES), len(liked) - likes)
    figures: Floats = np.stack([ndcg(hits, targets, 100), above]).astype(np.float32)
    return figures


if __name__ == "__main__":
    main()
