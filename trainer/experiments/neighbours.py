"""Whether neighbours that share no genre are liked by the same people.

The lift of a pair of items is how many users like both, over how many would if liking the
one had nothing to do with liking the other. Popular items have some lift whatever they are,
so neighbours are set beside random pairs that share no genre either and are as popular.
Symbols: `N` items, `P` pairs.
"""

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from deepmoviematch.data.arrays import Doubles, Flags, Longs
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation.bootstrap import Interval
from deepmoviematch.trainer.experiments.neighbourhood import Neighbourhood

NEIGHBOURS = 10
LEAST_LIKES = 10
"""Items with fewer likes say little of who likes them."""

WINDOW = 50
"""How many places in popularity a random item may be away from the one that it stands in for."""


def measure(around: Neighbourhood, *, seed: int) -> dict[str, Any]:
    """What the neighbours in a catalogue have in common.

    Args:
        around: The catalogue.
        seed: Draws the random pairs and the bootstrap.

    Returns:
        "items", "users" and "unseen" say who counts. "apart" is the share of an item's
        neighbours that have no genre in common with it, and the same of the whole catalogue;
        "some_apart" the share of the items with such a neighbour. "lift" is, for each kind of
        pair, how many like both over how many would by chance, both summed over the
        "pairs"; "ratio" that of the neighbours without a genre in common over that of their
        random counterparts. Intervals are over items.

    Raises:
        TrainingError: If too few items have genres and likes.
    """
    genres, size = around.catalogue.genres, len(around.catalogue)
    described: Flags = np.any(genres, axis=1)
    known = described & (around.counts >= LEAST_LIKES)
    if known.sum() <= NEIGHBOURS:
        raise TrainingError(
            f"the measure needs more than {NEIGHBOURS} items with genres and {LEAST_LIKES} likes, "
            f"got {known.sum()}; give it more ratings, or list the neighbours of one item: --item"
        )
    items = np.flatnonzero(described)
    rows, others = np.repeat(items, NEIGHBOURS), around.nearest(items, NEIGHBOURS).ravel()
    apart = ~around.share_genre(rows, others) & described[others]
    shares = apart.reshape(-1, NEIGHBOURS).mean(axis=1).astype(np.float32)

    counted = known[rows] & known[others]
    rows, others, apart = rows[counted], others[counted], apart[counted]
    randoms = _counterparts(around, rows, others, np.flatnonzero(known), seed)
    ours = apart & (randoms >= 0)
    kinds = {
        "neighbours, no genre in common": (rows[ours], others[ours]),
        "random, no genre in common": (rows[ours], randoms[ours]),
        "neighbours, a genre in common": (rows[~apart], others[~apart]),
    }
    sums = {
        kind: (_sums(pairs[0], around.both(*pairs), size), _sums(pairs[0], around.by_chance(*pairs), size))
        for kind, pairs in kinds.items()
    }
    neighbours, chance, _ = sums.values()
    return {
        "items": int(known.sum()),
        "users": around.likes.shape[0],
        "unseen": around.unseen,
        "apart": {
            "neighbours": asdict(Interval.of(shares, seed=seed)),
            "catalogue": _apart_by_chance(around, items),
        },
        "some_apart": float((shares > 0).mean()),
        "pairs": {kind: len(pairs[0]) for kind, pairs in kinds.items()},
        "lift": {kind: asdict(Interval.of_means(np.divide, pair, seed=seed)) for kind, pair in sums.items()},
        "ratio": asdict(Interval.of_means(_ratio_of_ratios, (*neighbours, *chance), seed=seed)),
    }


def _sums(rows: Longs, values: Doubles, size: int) -> Doubles:
    """[N] the sum of the values [P] of each item's pairs."""
    return np.bincount(rows, values, size).astype(np.float64)


def _ratio_of_ratios(
    observed: Doubles, expected: Doubles, others: Doubles, others_expected: Doubles
) -> Doubles:
    return (observed / expected) / (others / others_expected)


def _counterparts(around: Neighbourhood, rows: Longs, others: Longs, known: Longs, seed: int) -> Longs:
    """[P] for each pair a random item that is as popular as the other, and shares no genre with the first.

    It is no neighbour of the first either; -1 where there is none. `rows` never decrease.
    """
    rng = np.random.default_rng(seed)
    ranked = known[np.argsort(-around.counts[known], kind="stable")]
    places = np.zeros(len(around.catalogue), dtype=np.int64)
    places[ranked] = np.arange(len(ranked))
    found = np.full(len(rows), -1, dtype=np.int64)
    starts, ends = (np.searchsorted(rows, rows, side=side) for side in ("left", "right"))  # rows are sorted
    for pair, (row, place, start, end) in enumerate(zip(rows, places[others], starts, ends, strict=True)):
        near = ranked[max(0, place - WINDOW) : place + WINDOW + 1]
        fit = ~around.share_genre(np.array([row]), near) & ~np.isin(near, others[start:end])
        if fit.any():
            found[pair] = rng.choice(near[fit])
    return found


def _apart_by_chance(around: Neighbourhood, items: Longs) -> float:
    """The share of the pairs of different items that have no genre in common."""
    flags = around.catalogue.genres[items].astype(np.float32)
    sharing = sum(
        float((flags[first : first + 1024] @ flags.T > 0).sum()) for first in range(0, len(items), 1024)
    )
    pairs = len(items) * (len(items) - 1)
    return 1 - (sharing - len(items)) / pairs


def neighbours_of(around: Neighbourhood, item: str, beside: list[str], *, count: int) -> list[dict[str, Any]]:
    """An item's neighbours as they come out, then where others rank among them.

    Args:
        around: The catalogue.
        item: Id or title of the item.
        beside: Ids or titles of others.
        count: How many neighbours.

    Returns:
        For each its "rank" from 1, "title", "year", "genres", "cosine", "likes", how many
        like "both", and the "lift", drawn towards 1 by one user more in fact and by chance; NaN
        where nobody likes one of the two.

    Raises:
        TrainingError: If a title names no item or several.
    """
    row = around.row_of(item)
    wanted = [around.row_of(other) for other in beside]
    ranking = around.nearest(np.array([row]), len(around.catalogue) - 1)[0]
    ranks = {other: rank for rank, other in enumerate(ranking.tolist(), start=1)}
    listed = np.array(sorted({*ranking[:count].tolist(), *wanted} - {row}, key=ranks.__getitem__))
    both, chance = (numbers(np.full(len(listed), row), listed) for numbers in (around.both, around.by_chance))
    catalogue = around.catalogue
    return [
        {
            "rank": ranks[other],
            "title": catalogue.titles[other],
            "year": int(catalogue.years[other]),
            "genres": list(catalogue.genres_of(other)),
            "cosine": float(around.directions[row] @ around.directions[other]),
            "likes": int(around.counts[other]),
            "both": int(both[place]),
            "lift": float((both[place] + 1) / (chance[place] + 1)) if chance[place] else math.nan,
        }
        for place, other in enumerate(listed.tolist())
    ]
