"""Trains models on the splits of some protocols, measures them, and puts them side by side.

Each model sees nothing of a target or of a held-out user. The same users are asked
of every model, so that differences are taken user by user. Protocols with the same
split are answered by the same fits: per split, popularity, each peer with the
parameters that its search found, and the recipe, in turn, so that no more than one
model is held at a time.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.data.readers import read
from deepmoviematch.data.tables import Catalogue, Dataset, Ratings
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation.comparison import Comparison, Measured
from deepmoviematch.trainer.evaluation.lists import overlap_of_unlike_users
from deepmoviematch.trainer.evaluation.moments import Gain, gains
from deepmoviematch.trainer.evaluation.progress import Progress
from deepmoviematch.trainer.evaluation.protocols import POOLED, PROTOCOLS, Split, Trial, new_users, next_item
from deepmoviematch.trainer.evaluation.ranking import candidate_counts, rank
from deepmoviematch.trainer.evaluation.rating import rating, rating_of_new_users
from deepmoviematch.trainer.evaluation.table import Table, about
from deepmoviematch.trainer.evaluation.tuning import PEERS, tuned
from deepmoviematch.trainer.fit import fit_moments, fit_retrieval, fit_seed, seed_rows
from deepmoviematch.trainer.models.moments import features_of
from deepmoviematch.trainer.models.seed import SeedRows
from deepmoviematch.trainer.peers.rankers import EaseRanker, GenreCosine, Popularity, Ranker
from deepmoviematch.trainer.recipe import Recipe, RetrievalRecipe, SeedRecipe

MOST_OVERLAP = 0.95
"""Where the lists of users who differ are more alike than this, the model has collapsed."""


@dataclass(frozen=True)
class Plan:
    """What is asked of whom."""

    protocols: tuple[str, ...]
    """Names in `PROTOCOLS`, "moments", "rating", or "all" alone for whatever ranking the data allow."""

    seed: int = 1
    """Of the splits. The recipe's own seed and those after it train the towers of each split."""

    splits: int = 1
    """How many splits are pooled."""

    peers: bool = False
    """Whether to tune and measure all peers too; popularity always is."""

    history: str = "all"
    """"all", or "likes": what a user rated low is neither told nor kept out of the running."""


class Contender(Protocol):
    """What is measured beside the peers."""

    @property
    def name(self) -> str:
        """What its row is called."""

    def split(self, split: Split, catalogue: Catalogue, ratings: Ratings, seed: int, fold: int) -> Trial:
        """Whom to ask on a split."""

    def answer(self, trials: Mapping[str, Trial], catalogue: Catalogue, fold: int) -> dict[str, Measured]:
        """Its figures for protocols, by name, which share their training ratings."""


@dataclass(frozen=True)
class FittedRecipe:
    """A recipe, fitted anew on every split."""

    recipe: Recipe

    @property
    def name(self) -> str:
        """See `Contender.name`."""
        return self.recipe.name

    def split(self, split: Split, catalogue: Catalogue, ratings: Ratings, seed: int, fold: int) -> Trial:
        """See `Contender.split`."""
        return split(catalogue, ratings, seed, fold)

    def answer(self, trials: Mapping[str, Trial], catalogue: Catalogue, fold: int) -> dict[str, Measured]:
        """See `Contender.answer`."""
        recipe = replace(self.recipe, seed=self.recipe.seed + fold)
        asks_next = any(trial.users.asks_next.any() for trial in trials.values())
        if isinstance(recipe, RetrievalRecipe) and not asks_next:
            recipe = replace(recipe, sequence_epochs=0)  # taste is answered as if order had never been learnt
        return _answers(partial(_fit_recipe, recipe), trials, catalogue)


def evaluate(data: Path, recipe: Recipe, plan: Plan, *, lenient: bool = False) -> list[Table]:
    """Train and measure `recipe` on the data in a folder, with a table for each protocol.

    Args:
        data: Folder in any form that `deepmoviematch.data.readers.read` takes.
        recipe: What to train.
        plan: What to ask.
        lenient: Whether to drop bad rows instead of refusing the data.

    Raises:
        MovieMatchError: If the data break a rule, or the recipe cannot be measured this way.
    """
    dataset = read(data, lenient=lenient)
    names = possible(dataset, plan) if plan.protocols == ("all",) else plan.protocols
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
    if "moments" in names:
        tables["moments"] = _moments(dataset, recipe, plan)
    if "rating" in names:
        tables["rating"] = _rating(data, dataset, recipe, plan)
    return [tables[name] for name in names]


def possible(dataset: Dataset, plan: Plan) -> tuple[str, ...]:
    """The ranking protocols that the data allow, for lack of times, of genres or of users.

    What is left out is said on standard error.
    """
    names = []
    left_out: dict[str, list[str]] = {}
    for name, protocol in PROTOCOLS.items():
        try:
            for fold in range(plan.splits):
                split = protocol.split(dataset.catalogue, dataset.ratings, plan.seed, fold)
                protocol.trial(dataset.catalogue, split, plan.seed, history=plan.history)
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
        trials = _trials(
            ours.split(split, catalogue, dataset.ratings, plan.seed, fold), names, catalogue, plan
        )
        models = _peers(trials, split, catalogue, plan) | {
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


def _trials(split: Trial, names: Sequence[str], catalogue: Catalogue, plan: Plan) -> dict[str, Trial]:
    return {name: PROTOCOLS[name].trial(catalogue, split, plan.seed, history=plan.history) for name in names}


def _peers(
    trials: Mapping[str, Trial], split: Split, catalogue: Catalogue, plan: Plan
) -> dict[str, Callable[[], dict[str, Measured]]]:
    """For each peer, popularity first, how to get its figures for the protocols that it can answer."""
    first = next(iter(trials.values()))
    simple: dict[str, Callable[[Catalogue, Ratings], Ranker]] = {"popularity": Popularity}
    if first.candidates is not None:
        simple["genre cosine"] = GenreCosine
    answers: dict[str, Callable[[], dict[str, Measured]]] = {
        name: partial(_answers, fit, trials, catalogue) for name, fit in simple.items()
    }
    able = {peer: [name for name in trials if peer in PROTOCOLS[name].peers] for peer in PEERS if plan.peers}
    if any(able.values()):
        inner = _validation_trials(split, first.train, list(trials), catalogue, plan)
        for peer, names in able.items():
            asked = {name: trials[name] for name in names}
            if names and inner is None:
                answers[peer] = partial(_untuned, peer, asked, catalogue)
            elif names and inner is not None:
                answers[peer] = partial(_tuned, peer, asked, {name: inner[name] for name in names}, catalogue)
    return answers


def _validation_trials(
    split: Split, train: Ratings, names: Sequence[str], catalogue: Catalogue, plan: Plan
) -> dict[str, Trial] | None:
    """The same questions within the training data; None where these are too few to be split again."""
    seed = plan.seed + 1
    try:
        return _trials(split(catalogue, train, seed, 0), names, catalogue, replace(plan, seed=seed))
    except MovieMatchError:
        return None


def _untuned(peer: str, trials: Mapping[str, Trial], catalogue: Catalogue) -> dict[str, Measured]:
    """Fit a peer with the parameters that a search would start from, and measure it."""
    start = PEERS[peer].start

    def fit(catalogue: Catalogue, train: Ratings) -> Ranker:
        return PEERS[peer].fit(catalogue, train, *start)

    note = "too few to validate on: peers have the parameters that their search would start from"
    return {
        name: replace(measured, parameters=start, note=note)
        for name, measured in _answers(fit, trials, catalogue).items()
    }


def _tuned(
    peer: str, trials: Mapping[str, Trial], inner: Mapping[str, Trial], catalogue: Catalogue
) -> dict[str, Measured]:
    """Search a peer's parameters on trials within the training data, then fit and measure it."""
    started = time.perf_counter()
    metrics = {name: PROTOCOLS[name].metrics[0] for name in trials}
    found = tuned(PEERS[peer], inner, catalogue, metrics=metrics)
    tuning_s = time.perf_counter() - started
    answers = {}
    for parameters in {each.parameters: None for each in found.values()}:
        alike = {name: trials[name] for name in trials if found[name].parameters == parameters}

        def fit(catalogue: Catalogue, train: Ratings, parameters: tuple[float, ...] = parameters) -> Ranker:
            return PEERS[peer].fit(catalogue, train, *parameters)

        for name, measured in _answers(fit, alike, catalogue).items():
            answers[name] = replace(
                measured, parameters=parameters, tuning_s=tuning_s, validation=found[name].value
            )
    return answers


def _answers(
    fit: Callable[[Catalogue, Ratings], Ranker], trials: Mapping[str, Trial], catalogue: Catalogue
) -> dict[str, Measured]:
    """Fit a model once and measure it on trials that share their training ratings."""
    started = time.perf_counter()
    ranker = fit(catalogue, next(iter(trials.values())).train)
    fit_s = time.perf_counter() - started
    note = ""
    if isinstance(ranker, EaseRanker) and ranker.solved < ranker.liked:
        note = f"ease is solved for the {ranker.solved:,} most liked of {ranker.liked:,} liked items"
    return {
        name: Measured(rank(ranker, trial, catalogue, sliced=PROTOCOLS[name].metrics[0]), fit_s, note=note)
        for name, trial in trials.items()
    }


def _table(
    name: str,
    dataset: Dataset,
    plan: Plan,
    measured: Mapping[str, Sequence[Measured]],
    asked: Sequence[Trial],
) -> Table:
    protocol = PROTOCOLS[name]
    header = {
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
    *_, ours = measured.values()
    failures = [each.failure for each in ours if each.failure]
    if collapse := _collapse(measured, asked, len(dataset.catalogue)):
        failures.append(collapse)
    return replace(comparison.table(header, notes), failure="; ".join(failures))


def _fit_recipe(recipe: Recipe, catalogue: Catalogue, ratings: Ratings) -> Ranker:
    if isinstance(recipe, SeedRecipe):
        return fit_seed(catalogue, SeedRows.of_ratings(catalogue, ratings, recipe), recipe).towers
    # The settings stand, so nobody need be held out again: peers are fitted on everyone too.
    return fit_retrieval(catalogue, ratings, replace(recipe, validation_share=0.0)).towers


def _moments(dataset: Dataset, recipe: Recipe, plan: Plan) -> Table:
    """What each feature of the moment adds for users whom nothing was fitted or chosen by."""
    if isinstance(recipe, SeedRecipe):
        raise TrainingError(f"the moments protocol needs a recipe that ranks (retrieval), got {recipe.name}")
    found: dict[str, list[Gain]] = {}
    for fold in range(plan.splits):
        trial = new_users(dataset.catalogue, dataset.ratings, plan.seed, fold)
        told = features_of(trial.train)
        if not told:
            raise TrainingError(
                "this protocol needs ratings at different times or on different devices, got none"
            )
        mine = replace(recipe, seed=recipe.seed + fold, validation_share=0.0, sequence_epochs=0)
        towers = fit_retrieval(dataset.catalogue, trial.train, mine).towers
        moments, _ = fit_moments(towers, trial.train, told, mine, "moments")
        for name, gain in gains(towers, moments, trial, dataset.ratings).items():
            found.setdefault(name, []).append(gain)
    rows = {name: Gain.pooled(each).figures(plan.seed) for name, each in found.items()}
    header = about(dataset, "moments", recipe) | {"splits": plan.splits, "seed": plan.seed}
    notes = (
        "each like of users held out is asked for alone; added: what a feature of its moment adds to the "
        "NDCG@100 by the history alone, with a paired 95 % bootstrap interval over users",
        "hours and weekdays are those of UTC; a fit reads what its own validation users gain by",
    )
    return Table(about=header, rows=rows, notes=notes)


def _rating(data: Path, dataset: Dataset, recipe: Recipe, plan: Plan) -> Table:
    if not isinstance(recipe, SeedRecipe):
        return rating_of_new_users(dataset, recipe, seed=plan.seed, splits=plan.splits)
    table = rating(dataset, rows := seed_rows(data, dataset, recipe), recipe)
    if not rows.leaks:
        return table
    honest = SeedRows.of_ratings(dataset.catalogue, dataset.ratings, recipe)
    return replace(table, honest=rating(dataset, honest, recipe))


def _collapse(measured: Mapping[str, Sequence[Measured]], asked: Sequence[Trial], items: int) -> str:
    """What is wrong with a model, the last one, that shows the same to users who told different things."""
    model = list(measured)[-1]
    overlaps = [
        overlap_of_unlike_users(each.report.tops, trial.users, candidate_counts(trial, items))
        for each, trial in zip(measured[model], asked, strict=True)
        if trial.candidates is None  # items that nobody rated may have nothing to tell them apart
    ]
    known = [overlap for overlap in overlaps if overlap is not None]
    if not known or (mean := sum(known) / len(known)) <= MOST_OVERLAP:
        return ""
    return (
        f"lists of different users must differ, got a mean overlap of {mean:.1%} of the first ten "
        f"with {model}: the model has collapsed"
    )
