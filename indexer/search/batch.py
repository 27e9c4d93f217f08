"""Search for one query or many at once, less what each leaves out, with the bits that each would get alone.

Where every vector is compared and there are many, one matrix product scores everything, but rounds in
another order than FAISS does. So it only picks candidates: everything that can be among the best once
rounding errors are allowed for. FAISS scores these again.
Symbols: `B` queries, `N` vectors, `D` width, `K` results, `G` groups of vectors.
"""

from collections.abc import Sequence, Set as AbstractSet
from itertools import chain

import numpy as np

from deepmoviematch.data.arrays import Floats, Longs
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.indexer.search.vectors import FlatIndex, Found, VectorIndex, best_first, check_search

MANY, MANY_SCORES = 8, 20_000
"""So many queries and more, and so many scores in all, are sooner had by one matrix product."""

CELLS = 1 << 21
"""Scores held at once: 8 MiB."""

GROUP = 16
"""Vectors whose best score stands for all of them in the first pass, at most."""

_EPSILON, _LOWEST = np.finfo(np.float32).eps, np.finfo(np.float32).min

_GROUPS_A_RESULT = 4
"""The more groups, the fewer of the best share one, and the fewer candidates there are."""


def nearest_without(
    index: VectorIndex,
    queries: Floats,
    counts: Sequence[int],
    excluded: Sequence[AbstractSet[int]],
    allowed: Selection | None = None,
) -> list[Found]:
    """Find the vectors with the largest inner product for each of some queries.

    Args:
        index: N vectors.
        queries: [B, D] float32, finite.
        counts: [B] results wanted, at least 1.
        excluded: [B] rows never to return to a query, 0 to N - 1.
        allowed: Which other rows may be returned to any of them; None for all.

    Returns:
        For each query what it would get alone, bit for bit.

    Raises:
        ValueError: As `VectorIndex.search`.
    """
    if min(counts, default=1) < 1:
        raise ValueError(f"each count must be at least 1, got {min(counts)}")
    if index.exact is index and len(queries) >= MANY and len(queries) * index.size >= MANY_SCORES:
        return _compared_together(index.exact, queries, counts, excluded, allowed)
    # As many more as there are exclusions: whatever is dropped, enough are left.
    wanted = [count + len(out) for count, out in zip(counts, excluded, strict=True)]
    found = index.nearest(queries, wanted, allowed=allowed)
    return [_without(each, out, count) for each, out, count in zip(found, excluded, counts, strict=True)]


def _without(found: Found, out: AbstractSet[int], count: int) -> Found:
    """The first `count` of what was found that are not `out`."""
    rows, scores, exact = found
    if out.isdisjoint(rows):
        return Found(rows[:count], scores[:count], exact)
    kept = [place for place, row in enumerate(rows) if row not in out][:count]
    return Found([rows[place] for place in kept], [scores[place] for place in kept], exact)


def _compared_together(
    index: FlatIndex,
    queries: Floats,
    counts: Sequence[int],
    excluded: Sequence[AbstractSet[int]],
    allowed: Selection | None,
) -> list[Found]:
    """See `nearest_without`; sooner where queries and vectors are many."""
    check_search(index, queries, min(counts), allowed)
    refused = None if allowed is None else np.flatnonzero(~allowed.flags)
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    at_once = max(1, CELLS // index.size)
    found = []
    for first in range(0, len(queries), at_once):
        part = slice(first, first + at_once)
        width = min(max(counts[part]), index.size)
        owners, candidates = _candidates(index, queries[part], width, excluded[part], refused)
        scores, rows = _best(index, queries[part], owners, candidates, width)
        there = np.minimum((rows >= 0).sum(axis=1), counts[part]).tolist()
        for count, best, near in zip(there, scores.tolist(), rows.tolist(), strict=True):
            found.append(Found(near[:count], best[:count], exact=True))
    return found


def _best(index: FlatIndex, queries: Floats, owners: Longs, rows: Longs, width: int) -> tuple[Floats, Longs]:
    """[B, width] scores and rows of the best candidates, of which `rows` belong to the queries `owners`."""
    counts = np.bincount(owners, minlength=len(queries))
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((len(queries), max(int(counts.max()), width)), -1, dtype=np.int64)
    table[owners, columns] = rows
    scores = index.scores(queries, table)
    return best_first(scores, table, width)


def _candidates(
    index: FlatIndex, queries: Floats, count: int, excluded: Sequence[AbstractSet[int]], refused: Longs | None
) -> tuple[Longs, Longs]:
    """Queries, in their order, and rows: all that can be among the best `count`, and few more."""
    size = index.size
    group = max(1, min(GROUP, size // (_GROUPS_A_RESULT * count)))
    groups = -(-size // group)
    # Vectors by queries: so BLAS takes half as long as for queries by vectors.
    scores = np.empty((group * groups, len(queries)), dtype=np.float32)
    np.matmul(index.view, queries.T, out=scores[:size])
    scores[size:] = -np.inf
    if refused is not None:
        scores[refused] = -np.inf
    out = np.fromiter(chain.from_iterable(excluded), np.int64)
    scores[out, np.repeat(np.arange(len(queries)), [len(each) for each in excluded])] = -np.inf
    # Row r is in group r % G, so that neighbours in the catalogue, which may be alike, are not together.
    best = np.ascontiguousarray(scores.reshape(group, groups, len(queries)).max(axis=0).T)  # [B, G]
    sure = np.partition(best, groups - count, axis=1)[:, groups - count]
    # So many are at least as good as `sure`. Products of D terms, twice rounded, for each of two vectors.
    norms = np.linalg.norm(queries, axis=1) * index.longest
    floor = sure - 4 * (index.dim + 1) * _EPSILON * norms
    floor = np.maximum(floor, _LOWEST).astype(np.float32)  # what is excluded is below
    owners, found = np.divmod(np.flatnonzero(best >= floor[:, None]), groups)
    members = found[:, None] + groups * np.arange(group)
    good = scores[members, owners[:, None]] >= floor[owners, None]
    groups_of_good, _ = np.nonzero(good)
    return owners[groups_of_good], members[good]
