"""The protocols: what is split off, who competes, and what is reported.

Each trains its models on the split that it measures them on; nothing of a test
row or a held-out user is seen before.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepmoviematch.data.readers import read
from deepmoviematch.data.splits import hold_out_users
from deepmoviematch.data.tables import Catalogue, Dataset, Ratings

from .baselines import Predictor, RatingRows, bias_model, global_mean, item_mean, user_mean
from .errors import TrainingError
from .fit import fit_retrieval, fit_seed, seed_rows
from .metrics import Interval, RankingReport
from .peers import EaseRanker, GenrePopularity, ItemKnn, Popularity, Ranker
from .ranking import rank_held_out
from .recipe import Recipe, SeedRecipe
from .seed import SeedRows

TEST_SHARE = 0.1
"""Share of the users that `new-users` holds out."""


@dataclass(frozen=True)
class Table:
    """What a protocol found, for people and for programs."""

    about: dict[str, Any]
    """The protocol, the data, the split and the seed."""

    rows: dict[str, dict[str, Any]]
    """For each model its figures by name; an interval is {"mean", "low", "high"}."""

    notes: tuple[str, ...] = ()
    """What a reader has to know to read the figures right."""

    def to_json(self) -> dict[str, Any]:
        """The table as plain values."""
        return self.about | {"models": self.rows, "notes": list(self.notes)}


def evaluate(
    data: Path, recipe: Recipe, protocol: str, *, seed: int, peers: bool, lenient: bool = False
) -> Table:
    """Train and measure `recipe` on the data in a folder under one protocol.

    Args:
        data: Folder in any form that `deepmoviematch.data.readers.read` takes.
        recipe: What to train.
        protocol: "new-users" or "rating".
        seed: Of the split of the users; "rating" splits rows by the recipe's own seed.
        peers: Whether to train and measure all peers too; popularity always is.
        lenient: Whether to drop bad rows instead of refusing the data.

    Raises:
        MovieMatchError: If the data break a rule or the recipe cannot be measured this way.
    """
    dataset = read(data, lenient=lenient)
    if protocol == "rating":
        if not isinstance(recipe, SeedRecipe):
            raise TrainingError(
                f"the rating protocol needs a recipe that predicts ratings (seed), got {recipe.name}; "
                "measure it with --protocol new-users"
            )
        return rating(dataset, seed_rows(data, dataset, recipe), recipe)
    return new_users(dataset, recipe, seed=seed, peers=peers)


def rating(dataset: Dataset, rows: SeedRows, recipe: SeedRecipe) -> Table:
    """Errors of predicted ratings on the test rows, the baselines' beside the model's."""
    everything = RatingRows.of_ids(rows.user_ids, rows.item_ids, rows.ratings)
    train, test = everything.take(rows.train), everything.take(rows.test)
    half_range = float(np.ptp(train.ratings)) / 2 or 1.0  # scaled ratings run from -1 to 1
    fits: dict[str, Callable[[], Predictor]] = {
        "global mean": lambda: global_mean(train),
        "user mean": lambda: user_mean(train),
        "movie mean": lambda: item_mean(train),
        "user + movie bias": lambda: bias_model(train, seed=recipe.seed),
        recipe.name: lambda: _predictor(dataset.catalogue, rows, recipe),
    }
    measured = {}
    for name, fit in fits.items():
        started = time.perf_counter()
        predict = fit()
        seconds = time.perf_counter() - started
        errors = (predict(test) - test.ratings).astype(np.float64)
        measured[name] = {
            "mse_scaled": float(np.mean(errors**2)) / half_range**2,
            "rmse": float(np.sqrt(np.mean(errors**2))),
            "mae": float(np.mean(np.abs(errors))),
            "fit_s": round(seconds, 2),
        }
    repeated = _repeated_share(train, test)
    about = _about(dataset, "rating", recipe) | {
        "train_rows": len(train.ratings),
        "test_rows": len(test.ratings),
        "seed": recipe.seed,
        "repeated_share": repeated,
    }
    notes = (
        [f"{repeated:.1%} of the test rows repeat a user and movie of the training rows; that flatters"]
        if repeated
        else []
    )
    return Table(about=about, rows=measured, notes=tuple(notes))


def _predictor(catalogue: Catalogue, rows: SeedRows, recipe: SeedRecipe) -> Predictor:
    towers = fit_seed(catalogue, rows, recipe).towers
    return lambda _: towers.predict(rows.users[rows.test], rows.items[rows.test])


def _repeated_share(train: RatingRows, test: RatingRows) -> float:
    """Share of the test rows whose pair of user and item is in the training rows too."""
    width = max(train.items.max(), test.items.max()) + 1
    return float(np.isin(test.users * width + test.items, train.users * width + train.items).mean())


def new_users(dataset: Dataset, recipe: Recipe, *, seed: int, peers: bool) -> Table:
    """Rank the catalogue for users whom no model has seen, from 80 % of their ratings."""
    catalogue = dataset.catalogue
    split = hold_out_users(dataset.ratings, share=TEST_SHARE, seed=seed)
    fits: dict[str, Callable[[], Ranker]] = {"popularity": lambda: Popularity(catalogue, split.train)}
    if peers:
        fits |= {
            name: partial(_tuned, peer, start, catalogue, split.train, seed)
            for name, (peer, start) in PEERS.items()
        }
    fits[recipe.name] = lambda: _fit_towers(catalogue, split.train, recipe)
    measured: dict[str, dict[str, Any]] = {}
    reports: dict[str, RankingReport] = {}
    for name, fit in fits.items():
        started = time.perf_counter()
        ranker = fit()
        seconds = time.perf_counter() - started
        reports[name] = rank_held_out(ranker, split, catalogue)
        summary = reports[name].summary(seed=seed)
        measured[name] = {metric: asdict(interval) for metric, interval in summary.items()} | {
            "coverage@10": reports[name].coverage,
            "fit_s": round(seconds, 2),
        }
    ours = reports[recipe.name].per_user["ndcg@100"]
    for name in measured.keys() - {recipe.name}:
        lead = Interval.of(ours - reports[name].per_user["ndcg@100"], seed=seed)
        measured[name]["behind_by"] = asdict(lead)
    about = _about(dataset, "new-users", recipe) | {
        "seed": seed,
        "train_users": len(split.train.user_ids),
        "test_users": len(split.history.user_ids),
        "left_out_users": split.left_out,
        "masked": "the whole history, low ratings included",
    }
    notes = (
        "intervals are 95 % bootstrap over users; behind_by is the recipe's NDCG@100 minus the peer's",
        "fit_s includes the search for a peer's parameter",
    )
    return Table(about=about, rows=measured, notes=notes)


def _fit_towers(catalogue: Catalogue, ratings: Ratings, recipe: Recipe) -> Ranker:
    if isinstance(recipe, SeedRecipe):
        return fit_seed(catalogue, SeedRows.of_ratings(catalogue, ratings, recipe), recipe).towers
    return fit_retrieval(catalogue, ratings, recipe).towers


Peer = Callable[[Catalogue, Ratings, float], Ranker]

PEERS: dict[str, tuple[Peer, float]] = {
    "popularity x genre": (GenrePopularity, 1.0),
    "item-knn": (lambda catalogue, ratings, size: ItemKnn(catalogue, ratings, round(size)), 100.0),
    "ease": (EaseRanker, 200.0),
}
"""For each peer how to fit it with a parameter, and where the search for the parameter starts."""


def _tuned(peer: Peer, start: float, catalogue: Catalogue, ratings: Ratings, seed: int) -> Ranker:
    """Fit a peer with the parameter that ranks best for validation users of the training data.

    The parameter is doubled or halved for as long as that helps, so the best one never
    lies on the edge of what was tried.
    """
    inner = hold_out_users(ratings, share=TEST_SHARE, seed=seed + 1)
    tried: dict[float, float] = {}
    best, centre = start, 0.0
    while best != centre:
        centre = best
        for value in (centre, centre / 2, centre * 2):
            if value not in tried:
                report = rank_held_out(peer(catalogue, inner.train, value), inner, catalogue)
                tried[value] = float(report.per_user["ndcg@100"].mean())
        best = max(tried, key=lambda value: tried[value])
    return peer(catalogue, ratings, best)


def _about(dataset: Dataset, protocol: str, recipe: Recipe) -> dict[str, Any]:
    return {
        "protocol": protocol,
        "dataset": dataset.name,
        "data_digest": dataset.digest,
        "recipe": recipe.to_dict(),
        "dropped": list(dataset.dropped),
    }
