"""A fair chance for every peer: its parameters are searched on validation users."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.trainer.evaluation.protocols import Trial
from deepmoviematch.trainer.evaluation.ranking import rank
from deepmoviematch.trainer.peers.rankers import EaseRanker, GenrePopularity, Ials, ItemKnn, Ranker

Parameters: TypeAlias = tuple[float, ...]

FARTHEST = 2.0**12
"""How many times more or less than at the start a parameter may become, should that never cease to help."""


@dataclass(frozen=True)
class Peer:
    """How to fit a peer, and where the search for its parameters starts."""

    fit: Callable[..., Ranker]
    """Takes catalogue, ratings and one argument for each parameter."""

    start: Parameters

    most: Parameters = ()
    """Where the search ends at the latest, for parameters whose cost grows without end."""

    needs_genres: bool = False
    """Whether only a catalogue with genres has it."""


PEERS = {
    "popularity x genre": Peer(GenrePopularity, (1.0,), needs_genres=True),
    "item-knn": Peer(ItemKnn, (100.0,)),
    "ease": Peer(EaseRanker, (200.0,)),
    "ials": Peer(Ials, (64.0, 10.0, 4.0), most=(256.0, np.inf, np.inf)),
}


@dataclass(frozen=True)
class Tuned:
    """What a search found for one question."""

    parameters: Parameters

    value: float
    """Of the metric, on the validation users."""


def tuned(
    peer: Peer, trials: Mapping[str, Trial], catalogue: Catalogue, *, metrics: Mapping[str, str]
) -> dict[str, Tuned]:
    """The parameters that rank best on each of some trials within the training data.

    Each parameter is doubled and halved for as long as that helps, so the best values
    never lie on the edge of what was tried, unless at `Peer.most`. A fit serves all the
    trials.

    Args:
        peer: What to tune.
        trials: Trials with the same training ratings, by name.
        catalogue: What is ranked.
        metrics: What to make large in each of them.
    """
    train = next(iter(trials.values())).train
    tried: dict[Parameters, dict[str, float]] = {}
    centres = dict.fromkeys(trials, peer.start)
    while True:
        grids = {name: (centre, *_neighbours(centre, peer)) for name, centre in centres.items()}
        for parameters in dict.fromkeys(each for grid in grids.values() for each in grid):
            if parameters not in tried:
                ranker = peer.fit(catalogue, train, *parameters)
                tried[parameters] = {
                    name: float(rank(ranker, trial, catalogue).per_user[metrics[name]].mean())
                    for name, trial in trials.items()
                }
        best = {name: max(grid, key=lambda each: tried[each][name]) for name, grid in grids.items()}
        if best == centres:
            return {name: Tuned(found, tried[found][name]) for name, found in best.items()}
        centres = best


def _neighbours(centre: Parameters, peer: Peer) -> list[Parameters]:
    """`centre` with one parameter doubled or halved, as far as it may go."""
    found = []
    for i, (value, start) in enumerate(zip(centre, peer.start, strict=True)):
        most = min([start * FARTHEST, *peer.most[i : i + 1]])
        found += [
            (*centre[:i], value * factor, *centre[i + 1 :])
            for factor in (0.5, 2.0)
            if start / FARTHEST <= value * factor <= most
        ]
    return found
