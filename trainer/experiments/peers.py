"""How the peers answer: popularity as it is, the others with parameters that were searched for them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.evaluation.protocols import PROTOCOLS, Split, Trial
from deepmoviematch.trainer.experiments.comparison import Measured
from deepmoviematch.trainer.experiments.contender import answers
from deepmoviematch.trainer.experiments.plan import Plan
from deepmoviematch.trainer.experiments.tuning import PEERS, tuned
from deepmoviematch.trainer.peers.rankers import GenreCosine, Popularity, Ranker


def peers_of(
    trials: Mapping[str, Trial], split: Split, catalogue: Catalogue, plan: Plan
) -> dict[str, Callable[[], dict[str, Measured]]]:
    """For each peer, popularity first, how to get its figures for the protocols that it can answer."""
    first = next(iter(trials.values()))
    simple: dict[str, Callable[[Catalogue, Ratings], Ranker]] = {"popularity": Popularity}
    if first.candidates is not None and catalogue.genre_names:
        simple["genre cosine"] = GenreCosine
    found: dict[str, Callable[[], dict[str, Measured]]] = {
        name: partial(answers, fit, trials, catalogue) for name, fit in simple.items()
    }
    able = {
        name: [protocol for protocol in trials if name in PROTOCOLS[protocol].peers]
        for name, peer in PEERS.items()
        if plan.peers and (catalogue.genre_names or not peer.needs_genres)
    }
    if any(able.values()):
        inner = _validation_trials(split, first.train, list(trials), catalogue, plan)
        for peer, names in able.items():
            asked = {name: trials[name] for name in names}
            if names and inner is None:
                found[peer] = partial(_untuned, peer, asked, catalogue)
            elif names and inner is not None:
                found[peer] = partial(_tuned, peer, asked, {name: inner[name] for name in names}, catalogue)
    return found


def _validation_trials(
    split: Split, train: Ratings, names: Sequence[str], catalogue: Catalogue, plan: Plan
) -> dict[str, Trial] | None:
    """The same questions within the training data; None where these are too few to be split again."""
    seed = plan.seed + 1
    try:
        return replace(plan, seed=seed).trials(split(catalogue, train, seed, 0), names, catalogue)
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
        for name, measured in answers(fit, trials, catalogue).items()
    }


def _tuned(
    peer: str, trials: Mapping[str, Trial], inner: Mapping[str, Trial], catalogue: Catalogue
) -> dict[str, Measured]:
    """Search a peer's parameters on trials within the training data, then fit and measure it."""
    started = time.perf_counter()
    metrics = {name: PROTOCOLS[name].metrics[0] for name in trials}
    found = tuned(PEERS[peer], inner, catalogue, metrics=metrics)
    tuning_s = time.perf_counter() - started
    figures = {}
    for parameters in {each.parameters: None for each in found.values()}:
        alike = {name: trials[name] for name in trials if found[name].parameters == parameters}

        def fit(catalogue: Catalogue, train: Ratings, parameters: tuple[float, ...] = parameters) -> Ranker:
            return PEERS[peer].fit(catalogue, train, *parameters)

        for name, measured in answers(fit, alike, catalogue).items():
            figures[name] = replace(
                measured, parameters=parameters, tuning_s=tuning_s, validation=found[name].value
            )
    return figures
