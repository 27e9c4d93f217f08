"""Ratings of any number, made up with MovieLens' skew: few films have most ratings, few people rate often.

Items are drawn by a shifted power of their rank, users rate as often as lognormal chance says,
and nobody rates an item twice. Beside ml-100k, at its size: the most rated tenth of the items
takes 40 % of the ratings (there 43 %), half of them 87 % (93 %); the median user rates 62 (65),
the busiest 756 (737). Nothing wider than a block of users is laid out beside the ratings.
Symbols: `U` users, `N` items, `R` ratings.
"""

import numpy as np

from deepmoviematch.data.arrays import Doubles, Floats, Ints, Longs
from deepmoviematch.data.ratings import Ratings

SHIFT, EXPONENT = 200.0, 2.4
"""An item of rank r is drawn in proportion to (r + SHIFT) ** -EXPONENT."""

MEDIAN, SPREAD, FEWEST = 55.0, 1.1, 20
"""Of how often users rate: lognormal, FEWEST at least."""

MOST = 0.45
"""Share of the catalogue that a user rates at most."""

TASTES = 8
OWN = 0.7
"""Users have one of so many tastes, and so often they rate what it likes: every so-manyth item."""

SEARCHED = 0.1
"""Who rates more of all items than this is drawn for one by one."""

BLOCK = 1_000_000
"""Ratings that are drawn at once."""


def ratings(count: int, users: int, items: int, seed: int) -> Ratings:
    """Exactly so many ratings of pairs of user and item that are all different, with times in a random order.

    Args:
        count: R, at least `FEWEST` a user.
        users: U.
        items: N, of which the rarest may go without any.
        seed: Of all chance.
    """
    rng = np.random.default_rng(seed)
    counts = rating_counts(count, users, items, rng)
    weights = _weights(items)
    ranks = np.empty(count, dtype=np.int32)
    ends = np.cumsum(counts)
    first = 0
    while first < users:
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + BLOCK, side="right")))
        ranks[before : ends[last - 1]] = _drawn(np.arange(first, last), counts[first:last], weights, rng)
        first = last
    owners = np.repeat(np.arange(users, dtype=np.int32), counts)
    return Ratings.from_columns(
        tuple(f"u{user}" for user in range(users)),
        owners,
        rng.permutation(items).astype(np.int32)[ranks],
        _stars(owners, ranks, rng),
        rng.permutation(count),
    )


def rating_counts(count: int, users: int, items: int, rng: np.random.Generator) -> Longs:
    """[U] how often each user rates, R in all."""
    most = int(MOST * items)
    if not FEWEST * users <= count <= most * users:
        raise ValueError(f"ratings must be in {FEWEST * users}..{most * users}, got {count}")
    wanted = rng.lognormal(np.log(MEDIAN), SPREAD, users)
    low, high = 0.0, count / FEWEST
    while high - low > 1e-9 * high:  # scale so that the bounded counts add up
        factor = (low + high) / 2
        low, high = (factor, high) if np.clip(factor * wanted, FEWEST, most).sum() < count else (low, factor)
    counts = np.clip(high * wanted, FEWEST, most).astype(np.int64)
    room = np.flatnonzero(counts < most)
    counts[rng.permutation(room)[: count - counts.sum()]] += 1
    return counts


def _weights(items: int) -> Doubles:
    """[TASTES, N] how often users of each taste rate each item, next to each other."""
    common = (np.arange(items) + SHIFT) ** -EXPONENT
    steps = np.arange(0, items, TASTES)
    theirs = np.zeros((TASTES, items))
    for taste in range(TASTES):  # what a taste likes takes the place of its neighbours
        theirs[taste, np.minimum(steps + taste, items - 1)] = np.add.reduceat(common, steps)
    return (1 - OWN) * common + OWN * theirs


def _drawn(users: Longs, counts: Longs, weights: Doubles, rng: np.random.Generator) -> Longs:
    """Ranks of the items that each of `users` rates, `counts` of them, user after user."""
    items = weights.shape[1]
    many = counts > SEARCHED * items
    found = np.empty(counts.sum(), dtype=np.int64)
    owner = np.repeat(np.arange(len(users)), counts)
    found[~many[owner]] = _few(users[~many], counts[~many], weights, rng)
    # The first of exponential times are draws without replacement, too.
    found[many[owner]] = np.concatenate(
        [np.empty(0, np.int64)]
        + [
            np.argpartition(rng.exponential(size=items) / weights[user % TASTES], count)[:count]
            for user, count in zip(users[many], counts[many], strict=True)
        ]
    )
    return found


def _few(users: Longs, counts: Longs, weights: Doubles, rng: np.random.Generator) -> Longs:
    """The same for those who rate few of all: draws with replacement, of which repeats are dropped."""
    items = weights.shape[1]
    ladder = (np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)).ravel()
    ladder += np.repeat(np.arange(TASTES), items)
    done, kept = [], np.empty(0, dtype=np.int64)  # user's place in `users` * N + rank
    missing = counts
    while missing.any():
        owners = np.repeat(np.arange(len(users)), missing + missing // 8 + (missing > 0))
        tastes = users[owners] % TASTES
        ranks = np.searchsorted(ladder, tastes + rng.random(len(owners))) - tastes * items
        drawn = np.concatenate([kept, owners * items + np.minimum(ranks, items - 1)])
        first = np.sort(np.unique(drawn, return_index=True)[1])  # what is kept comes first, so it stays
        drawn = drawn[first]
        owners = drawn // items
        order = np.argsort(owners, kind="stable")
        place = np.arange(len(order)) - np.searchsorted(owners[order], owners[order])
        kept = drawn[order[place < counts[owners[order]]]]
        missing = np.where(missing, counts - np.bincount(kept // items, minlength=len(users)), 0)
        ready = missing[kept // items] == 0
        done.append(kept[ready])
        kept = kept[~ready]
    found: Longs = np.sort(np.concatenate([kept, *done])) % items
    return found


def _stars(owners: Ints, ranks: Ints, rng: np.random.Generator) -> Floats:
    """[R] of which 65 % are likes where the item is of the user's taste, else 35 %."""
    likes = rng.random(len(owners), dtype=np.float32) < np.where(
        ranks % TASTES == owners % TASTES, np.float32(0.65), np.float32(0.35)
    )
    halves = rng.integers(0, 3, len(owners), dtype=np.int8)
    return np.where(likes, np.float32(4) + halves / np.float32(2), np.float32(2) + halves / np.float32(2))
