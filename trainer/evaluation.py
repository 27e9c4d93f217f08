"""Trains models on the splits of a protocol, measures them, and puts them side by side.

Each model sees nothing of a target or of a held-out user. The same users are asked
of every model, so that differences are taken user by user.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from deepmoviematch.data.readers import read
from deepmoviematch.data.tables import Catalogue, Dataset, Floats, Ratings

from . import protocols
from .errors import TrainingError
from .fit import fit_retrieval, fit_seed, seed_rows
from .metrics import Interval, RankingReport
from .peers import GenreCosine, Popularity, Ranker
from .protocols import Trial
from .ranking import rank
from .rating import rating
from .recipe import Recipe, SeedRecipe
from .seed import SeedRows
from .table import Table, about
from .tuning import PEERS, tuned

Maker: TypeAlias = Callable[[Catalogue, Ratings, int], Trial]

MOST_OVERLAP = 0.95
"""Where everyone's lists are more alike than this, the model has collapsed."""


@dataclass(frozen=True)
class Protocol:
    """How a ranking protocol asks and what it reports."""

    make: Maker
    metrics: tuple[str, ...]
    """What is reported; the first decides."""

    peers: tuple[str, ...]
    """Names in `PEERS` of those that can answer."""


_RANKERS = tuple(PEERS)
_USUAL = ("ndcg@100", "ndcg@10", "recall@20", "recall@50", "tail recall@50")
_NEXT = ("hit@10", "ndcg@10", "recall@50")
PROTOCOLS = {
    "new-users": Protocol(protocols.new_users, _USUAL, _RANKERS),
    "three-likes": Protocol(protocols.short_history, _USUAL, _RANKERS),
    "genres-only": Protocol(protocols.genres_only, _USUAL, ("popularity x genre",)),
    "two-genres": Protocol(partial(protocols.genres_only, ticked=2), _USUAL, ("popularity x genre",)),
    "three-genres": Protocol(partial(protocols.genres_only, ticked=3), _USUAL, ("popularity x genre",)),
    "next-item": Protocol(protocols.next_item, _NEXT, _RANKERS),
    "time": Protocol(protocols.time_cut, ("ndcg@10", "hit@10", "ndcg@100"), _RANKERS),
    "cold-items": Protocol(protocols.cold_items, ("auc", "recall@20", "ndcg@10"), ()),
}


def evaluate(
    data: Path, recipe: Recipe, protocol: str, *, seed: int, splits: int, peers: bool, lenient: bool = False
) -> Table:
    """Train and measure `recipe` on the data in a folder under one protocol.

    Args:
        data: Folder in any form that `deepmoviematch.data.readers.read` takes.
        recipe: What to train.
        protocol: "rating" or one of `PROTOCOLS`.
        seed: Of the first split; "rating" splits rows by the recipe's own seed.
        splits: How many splits to pool, with seeds `seed`, `seed` + 1, ...
        peers: Whether to tune and measure all peers too; popularity always is.
        lenient: Whether to drop bad rows instead of refusing the data.

    Raises:
        MovieMatchError: If the data break a rule, the recipe cannot be measured this way,
            or its lists are the same for everyone.
    """
    dataset = read(data, lenient=lenient)
    if protocol != "rating":
        return rankings(dataset, recipe, protocol, seeds=range(seed, seed + splits), peers=peers)
    if not isinstance(recipe, SeedRecipe):
        raise TrainingError(
            f"the rating protocol needs a recipe that predicts ratings (seed), got {recipe.name}; "
            "measure it with --protocol new-users"
        )
    table = rating(dataset, rows := seed_rows(data, dataset, recipe), recipe)
    if not rows.leaks:
        return table
    honest = SeedRows.of_ratings(dataset.catalogue, dataset.ratings, recipe)
    return replace(table, honest=rating(dataset, honest, recipe))


def rankings(dataset: Dataset, recipe: Recipe, name: str, *, seeds: Sequence[int], peers: bool) -> Table:
    """Rank the catalogue for the users of a protocol's splits, with the recipe and beside it its peers."""
    protocol, catalogue = PROTOCOLS[name], dataset.catalogue
    if recipe.name in {"popularity", "genre cosine", *PEERS}:
        raise TrainingError(f"a recipe must not be called like a peer, got {recipe.name!r}; rename its file")
    if name == "next-item" and len(seeds) > 1:
        raise TrainingError(f"next-item asks every user and so has one split, got --splits {len(seeds)}")
    measured: dict[str, list[_Measured]] = {}
    users = 0
    for seed in seeds:
        trial = protocol.make(catalogue, dataset.ratings, seed)
        users += len(trial.users)
        for model, fit in _fits(protocol, recipe, trial, catalogue, seed, peers=peers).items():
            ranker, parameters, fit_s = fit()
            report = rank(ranker, trial, catalogue)
            measured.setdefault(model, []).append(_Measured(report, parameters, fit_s))
    ours = measured[recipe.name]
    if trial.candidates is None:  # a handful of candidates is the same handful for everyone
        _refuse_collapse(ours, recipe)
    rows = {model: _row(found, protocol, seeds[0]) for model, found in measured.items()}
    for model, found in measured.items():
        if model != recipe.name:
            rows[model]["ours / it"] = asdict(_ratio(ours, found, protocol.metrics[0], seeds[0]))
    header = about(dataset, name, recipe) | {
        "seeds": list(seeds),
        "train_ratings": len(trial.train),
        "asked_users": users,
        "masked": "everything known of a user, low ratings included",
    }
    notes = (
        f"intervals: 95 % bootstrap over users; 'ours / it': ratio of the means of {protocol.metrics[0]}",
        "fit_s: one fit, a split's mean; parameters of peers are searched on validation users",
    )
    return Table(about=header, rows=rows, notes=notes)


@dataclass(frozen=True, eq=False)
class _Measured:
    """A model on one split."""

    report: RankingReport
    parameters: tuple[float, ...]
    fit_s: float


_Fit: TypeAlias = Callable[[], tuple[Ranker, tuple[float, ...], float]]


def _fits(
    protocol: Protocol, recipe: Recipe, trial: Trial, catalogue: Catalogue, seed: int, *, peers: bool
) -> dict[str, _Fit]:
    """For each model how to fit it: popularity first, the recipe last."""

    def timed(fit: Callable[..., Ranker], *parameters: float) -> tuple[Ranker, tuple[float, ...], float]:
        started = time.perf_counter()
        ranker = fit(catalogue, trial.train, *parameters)
        return ranker, parameters, time.perf_counter() - started

    def tuned_first(name: str) -> tuple[Ranker, tuple[float, ...], float]:
        inner = protocol.make(catalogue, trial.train, seed + 1)
        return timed(PEERS[name].fit, *tuned(PEERS[name], inner, catalogue, metric=protocol.metrics[0]))

    simple: dict[str, Callable[..., Ranker]] = {"popularity": Popularity}
    if trial.candidates is not None:
        simple["genre cosine"] = GenreCosine
    fits: dict[str, _Fit] = {name: partial(timed, fit) for name, fit in simple.items()}
    if peers:
        fits |= {name: partial(tuned_first, name) for name in protocol.peers}
    return fits | {recipe.name: partial(timed, partial(_fit_recipe, recipe))}


def _fit_recipe(recipe: Recipe, catalogue: Catalogue, ratings: Ratings) -> Ranker:
    if isinstance(recipe, SeedRecipe):
        return fit_seed(catalogue, SeedRows.of_ratings(catalogue, ratings, recipe), recipe).towers
    # The settings stand, so nobody need be held out again: peers are fitted on everyone too.
    return fit_retrieval(catalogue, ratings, replace(recipe, validation_share=0.0)).towers


def _row(found: Sequence[_Measured], protocol: Protocol, seed: int) -> dict[str, Any]:
    """Figures of one model over all splits."""
    row: dict[str, Any] = {
        metric: asdict(Interval.of(_pooled(found, metric), seed=seed)) for metric in protocol.metrics
    }
    for name in found[0].report.lists:
        row[name] = float(np.mean([each.report.lists[name] for each in found]))
    row["fit_s"] = round(float(np.mean([each.fit_s for each in found])), 2)
    if found[0].parameters:
        row["parameters"] = [list(each.parameters) for each in found]
    return row


def _pooled(found: Sequence[_Measured], metric: str) -> Floats:
    return np.concatenate([each.report.per_user[metric] for each in found])


def _ratio(ours: Sequence[_Measured], theirs: Sequence[_Measured], metric: str, seed: int) -> Interval:
    """Ratio of the means, resampled user by user."""
    return Interval.of_ratio(_pooled(ours, metric), _pooled(theirs, metric), seed=seed)


def _refuse_collapse(found: Sequence[_Measured], recipe: Recipe) -> None:
    """Fail a model that shows everyone the same, where it was told something of several users."""
    overlap = float(np.mean([each.report.lists["overlap@10"] for each in found]))
    if overlap > MOST_OVERLAP:
        raise TrainingError(
            f"lists of different users must differ, got a mean overlap of {overlap:.1%} of the first ten "
            f"with {recipe.name}: the model has collapsed"
        )
