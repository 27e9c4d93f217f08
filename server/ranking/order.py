"""The order of a list that is to be more than the most relevant items, in steps of a fixed order.

    in the running -> relevance -> novelty -> diversity and cap -> exploration -> page

Each step reorders what the one before left, so that each is told by what it did. Novelty changes
what an item is worth, so it comes before diversity, which weighs that worth against likeness; the cap
holds back items while the list grows, so it goes with diversity; chance comes last, so that its
probabilities are exact.

The `POOL` most relevant items are reordered; all others follow them by relevance, held to the cap too.
So the order does not depend on how it is cut into pages, and its cost has a bound.
Symbols: `N` items, `P` items of the pool, `K` results.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deepmoviematch.data.arrays import Longs
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.server.ranking.diversity import Cap, intra_list_diversity, marginal_relevance, rescaled
from deepmoviematch.server.ranking.exploration import shuffled
from deepmoviematch.server.ranking.question import Figures, Style
from deepmoviematch.server.ranking.relevance import Relevance, Scored, beyond

POOL = 1000
"""Items that are reordered, the most relevant ones."""


class Arranged(NamedTuple):
    """A page of a list with a style."""

    page: Scored

    is_last: bool

    figures: Figures

    explored: Sequence[bool]
    """[K] whether each place was given to chance."""

    propensities: Sequence[float]
    """[K] chance of each item to be at its place."""


def arranged(relevance: Relevance, start: int, stop: int, style: Style, generation: Generation) -> Arranged:
    """The places from `start` to before `stop` of the order."""
    pool = relevance.best(POOL)
    cap = Cap(generation.catalogue.genres, style.max_per_genre) if style.max_per_genre else None
    # One place more than asked for tells whether there is more.
    whole = style.exploration > 0 or stop >= len(pool.rows)
    places = _chosen(pool, style, generation, cap, len(pool.rows) if whole else stop + 1)
    chance = shuffled(len(places), style.exploration, style.seed)
    listed, by_relevance = pool.at(places[chance.places].tolist()), pool
    if len(places) <= stop:  # the list goes on beyond the pool
        rest = beyond(pool, relevance, stop + 1 if cap is None else max(1, relevance.left))
        by_relevance = pool.then(rest)
        if cap is not None:
            rest = rest.at(cap.admit(np.array(rest.rows, dtype=np.int64), stop + 1 - len(places)).tolist())
        listed = listed.then(rest)
    page = listed.part(start, stop)
    if start >= len(places):
        page = page._replace(exact=True)
    count = len(page.rows)
    given, propensities = chance.given[start:stop].tolist(), chance.propensities[start:stop].tolist()
    return Arranged(
        page,
        is_last=len(listed.rows) <= stop,
        figures=Figures(
            intra_list_diversity(generation.directions[page.rows]),
            _mean(by_relevance.part(start, start + count).scores) - _mean(page.scores),
            _mean(generation.popularity[page.rows].tolist()),
        ),
        explored=given + [False] * (count - len(given)),
        propensities=propensities + [1.0] * (count - len(propensities)),
    )


def _chosen(pool: Scored, style: Style, generation: Generation, cap: Cap | None, count: int) -> Longs:
    """Places in the pool of the first `count` items of the list, or of all that may be in it."""
    rows = np.array(pool.rows, dtype=np.int64)
    worth = rescaled(pool.scores)
    if style.novelty:
        worth = (1 - style.novelty) * worth - style.novelty * rescaled(generation.popularity[rows])
    if style.diversity:
        directions = generation.directions[rows]
        return marginal_relevance(worth, directions, count, strength=style.diversity, cap=cap, rows=rows)
    order = np.argsort(-worth, kind="stable")
    return order[:count] if cap is None else order[cap.admit(rows[order], count)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
