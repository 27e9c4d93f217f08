"""A fair chance for every peer: its parameters are searched on validation users."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from deepmoviematch.data.tables import Catalogue

from .peers import EaseRanker, GenrePopularity, Ials, ItemKnn, Ranker
from .protocols import Trial
from .ranking import rank

Parameters: TypeAlias = tuple[float, ...]


@dataclass(frozen=True)
class Peer:
    """How to fit a peer, and where the search for its parameters starts."""

    fit: Callable[..., Ranker]
    """Takes catalogue, ratings and one argument for each parameter."""

    start: Parameters


PEERS = {
    "popularity x genre": Peer(GenrePopularity, (1.0,)),
    "item-knn": Peer(ItemKnn, (100,)),
    "ease": Peer(EaseRanker, (200.0,)),
    "ials": Peer(Ials, (10.0, 4.0)),
}


def tuned(peer: Peer, inner: Trial, catalogue: Catalogue, *, metric: str) -> Parameters:
    """The parameters that rank best on a trial within the training data.

    Each parameter is doubled and halved for as long as that helps, so the best values
    never lie on the edge of what was tried.

    Args:
        peer: What to tune.
        inner: A trial made of the training ratings alone.
        catalogue: What is ranked.
        metric: What to make large.
    """
    tried: dict[Parameters, float] = {}
    best: Parameters = peer.start
    while True:
        for parameters in (best, *_neighbours(best)):
            if parameters not in tried:
                ranker = peer.fit(catalogue, inner.train, *parameters)
                tried[parameters] = float(rank(ranker, inner, catalogue).per_user[metric].mean())
        centre, best = best, max(tried, key=lambda parameters: tried[parameters])
        if tried[best] <= tried[centre]:
            return centre


def _neighbours(centre: Parameters) -> list[Parameters]:
    """`centre` with one parameter doubled or halved."""
    return [
        (*centre[:i], centre[i] * factor, *centre[i + 1 :])
        for i in range(len(centre))
        for factor in (0.5, 2.0)
    ]
