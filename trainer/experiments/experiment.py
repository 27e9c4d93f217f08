"""Trains models on the splits of some protocols, measures them, and puts them side by side.

Each model sees nothing of a target or of a held-out user. The same users are asked
of every model, so that differences are taken user by user. Protocols with the same
split are answered by the same fits: per split, popularity, each peer with the
parameters that its search found, and the recipe, in turn, so that no more than one
model is held at a time.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.data.likes import Likes
from deepmoviematch.data.readers import read
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation.lists import collapse, overlap_of_unlike_users
from deepmoviematch.trainer.evaluation.protocols import POOLED, PROTOCOLS, Split, Trial, next_item
from deepmoviematch.trainer.evaluation.ranking import candidate_counts
from deepmoviematch.trainer.experiments.comparison import Comparison, Measured
from deepmoviematch.trainer.experiments.contender import Contender, FittedRecipe
from deepmoviematch.trainer.experiments.moments import check_moments, moments_table
from deepmoviematch.trainer.experiments.peers import peers_of
from deepmoviematch.trainer.experiments.plan import Plan
from deepmoviematch.trainer.experiments.progress import Progress
from deepmoviematch.trainer.experiments.rating import check_rating, rating_table
from deepmoviematch.trainer.experiments.table import Table
from deepmoviematch.trainer.experiments.tuning import PEERS
from deepmoviematch.trainer.recipe import Recipe, RetrievalRecipe, SeedRecipe


def evaluate(data: Path, recipe: Recipe, plan: Plan, *, lenient: bool = False) -> list[Table]:
    """Train and measure `recipe` on the data in a folder, with a table for each protocol.

    Args:
        data: Folder in any form that `deepmoviematch.data.readers.read` takes.
        recipe: What to train.
        plan: What to ask.
        lenient: Whether to drop bad rows instead of refusing the data.

    Raises:
        MovieMatchError: If the data break a rule, or the recipe cannot be measured this way; before any fit.
    """
    dataset = read(data, lenient=lenient)
    warning = Likes.of(dataset.ratings).warning
    if warning and not isinstance(recipe, SeedRecipe):
        print(warning, file=sys.stderr)
    _refuse(dataset, recipe, plan)
    names = named(dataset, plan)
    ranked = tuple(name for name in names if name in PROTOCOLS)
    tables = {
        table.about["protocol"]: replace(
            table,
            about=table.about
            | {
                "recipe": recipe.to_dict(),
                "model_seeds": list(range(recipe.seed, recipe.seed + plan.splits)),
            },
        )
        for table in rankings(dataset, FittedRecipe(recipe), replace(plan, protocols=ranked))
    }
    if "moments" in names and isinstance(recipe, RetrievalRecipe):  # any other was refused
        tables["moments"] = moments_table(dataset, recipe, plan)
    if "rating" in names:
        tables["rating"] = rating_table(data, dataset, recipe, plan)
    return [tables[name] for name in names]


def _refuse(dataset: Dataset, recipe: Recipe, plan: Plan) -> None:
    """Refuse the named protocols that `dataset` or `recipe` does not allow, all at once."""
    faults: dict[str, str] = {}
    for name in plan.protocols:
        try:
            if name == "moments":
                check_moments(dataset, recipe, plan)
            elif name == "rating":
                check_rating(dataset, recipe, plan)
            elif name != "all":  # which leaves out what is not possible
                _draw(dataset, plan, name)
        except MovieMatchError as error:
            faults[name] = str(error)
    if faults:
        cure = f"; leave {', '.join(faults)} out" if len(faults) < len(plan.protocols) else ""
        raise TrainingError("; ".join(f"{name}: {error}" for name, error in faults.items()) + cure)


def _draw(dataset: Dataset, plan: Plan, name: str) -> None:
    """Draw all that a ranking protocol would ask, which raises where the data do not allow it."""
    protocol = PROTOCOLS[name]
    for fold in range(plan.splits):
        split = protocol.split(dataset.catalogue, dataset.ratings, plan.seed, fold)
        protocol.trial(dataset.catalogue, split, plan.seed, history=plan.history)


def named(dataset: Dataset, plan: Plan, *, but: str = "") -> tuple[str, ...]:
    """The plan's protocols, each once, where "all" stands for what is possible, `but` for one protocol."""
    every = possible(dataset, plan) if "all" in plan.protocols else ()
    expanded = (
        [each for each in every if each != but] if name == "all" else [name] for name in plan.protocols
    )
    return tuple(dict.fromkeys(chain.from_iterable(expanded)))


def possible(dataset: Dataset, plan: Plan) -> tuple[str, ...]:
    """The ranking protocols that the data allow.

    Those that they do not, for lack of times, genres or users, are named on standard error.
    """
    names = []
    left_out: dict[str, list[str]] = {}
    for name in PROTOCOLS:
        try:
            _draw(dataset, plan, name)
            names.append(name)
        except MovieMatchError as error:
            left_out.setdefault(str(error), []).append(name)
    reasons = [
        f"{', '.join(those)} {'is' if len(those) == 1 else 'are'} left out: {error}"
        for error, those in left_out.items()
    ]
    if not names:
        raise TrainingError("; ".join(reasons))
    for reason in reasons:
        print(reason, file=sys.stderr)
    return tuple(names)


def rankings(dataset: Dataset, ours: Contender, plan: Plan) -> list[Table]:
    """Rank the catalogue for the users of every protocol's splits, with `ours` and beside it the peers.

    Returns:
        A table for each protocol, in the plan's order.
    """
    if ours.name in {"popularity", "genre cosine", *PEERS}:
        raise TrainingError(f"a recipe must not be called like a peer, got {ours.name!r}; rename its file")
    families: dict[Split, list[str]] = {}
    for name in plan.protocols:
        families.setdefault(PROTOCOLS[name].split, []).append(name)
    tables: dict[str, Table] = {}
    for split, names in families.items():
        tables |= _family(dataset, ours, plan, split, names)
    return [tables[name] for name in plan.protocols]


def _family(
    dataset: Dataset, ours: Contender, plan: Plan, split: Split, names: Sequence[str]
) -> dict[str, Table]:
    """The tables of protocols that split the data alike."""
    catalogue = dataset.catalogue
    asked: dict[str, list[Trial]] = {name: [] for name in names}
    found: dict[str, dict[str, list[Measured]]] = {name: {} for name in names}
    for fold in range(plan.splits):
        trials = plan.trials(ours.split(split, catalogue, dataset.ratings, plan.seed, fold), names, catalogue)
        models = peers_of(trials, split, catalogue, plan) | {
            ours.name: partial(ours.answer, trials, catalogue, fold)
        }
        progress = Progress(f"{', '.join(names)}  split {fold + 1}/{plan.splits}")
        for model, answer in models.items():
            if split is next_item and fold > 0 and model != ours.name:  # the same question again
                answers = {name: found[name][model][0] for name in names if model in found[name]}
            else:
                with progress.doing(model, live=model != ours.name):
                    answers = answer()
            for name, measured in answers.items():
                found[name].setdefault(model, []).append(measured)
        for name in names:
            asked[name].append(trials[name])
    return {name: _table(name, dataset, plan, found[name], asked[name]) for name in names}


def _table(
    name: str,
    dataset: Dataset,
    plan: Plan,
    measured: Mapping[str, Sequence[Measured]],
    asked: Sequence[Trial],
) -> Table:
    protocol = PROTOCOLS[name]
    *_, (model, ours) = measured.items()
    header: dict[str, Any] = {
        "protocol": name,
        "dataset": dataset.name,
        "data_digest": dataset.digest,
        "dropped": list(dataset.dropped),
        "splits": plan.splits,
        "seed": plan.seed,
        "pooled": POOLED[protocol.split],
        "train_ratings": round(sum(len(trial.train) for trial in asked) / len(asked)),
        "asked_users": sum(len(trial.users) for trial in asked),
        "history": plan.history,
        "masked": "everything known of a user, low ratings included"
        if plan.history == "all"
        else "the likes known of a user; low ratings are neither told nor masked",
    }
    if settled := [each.settled for each in ours if each.settled]:
        header["settled"] = settled
    notes = [
        f"intervals: 95 % bootstrap over users; 'ours / it': ratio of the means of {protocol.metrics[0]}",
        "ties in time keep the file's order, ties in score that of the catalogue; "
        "histories may be short or empty: whoever has a target is asked",
    ]
    if plan.peers and protocol.peers:
        notes.append(
            "fit_s: one fit, a split's mean; tuning_s: the search of a peer's parameters on validation "
            "users, doubled and halved until the best lies inside (ials: up to 256 factors), for all "
            "protocols of the split at once"
        )
    comparison = Comparison(measured, asked, metrics=protocol.metrics, seed=plan.seed)
    failures = [each.failure for each in ours if each.failure]
    overlaps = [
        overlap_of_unlike_users(
            each.report.tops, trial.users, candidate_counts(trial, len(dataset.catalogue))
        )
        for each, trial in zip(ours, asked, strict=True)
        if trial.candidates is None  # items that nobody rated may have nothing to tell them apart
    ]
    if collapsed := collapse(model, overlaps):
        failures.append(collapsed)
    return replace(comparison.table(header, notes), failure="; ".join(failures))
