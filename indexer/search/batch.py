"""Exact search for many queries at once, with the bits that each would get alone.

One matrix product scores everything, but rounds in another order than FAISS does. So
it only picks candidates: everything that can be among the best once rounding errors
are allowed for. FAISS scores these again. Symbols: `B` queries, `N` vectors, `D`
width, `K` results, `G` groups of vectors.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from deepmoviematch.data.tables import Floats, Times
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.indexer.search.vectors import FlatIndex, Hits, best_first, check_search

CELLS = 1 << 21
"""Scores held at once: 8 MiB."""

GROUP = 16
"""Vectors whose best score stands for all of them in the first pass, at most."""

_EPSILON, _LOWEST = np.finfo(np.float32).eps, np.finfo(np.float32).min

_GROUPS_A_RESULT = 4
"""The more groups, the fewer of the best share one, and the fewer candidates there are."""


class Excluded(NamedTuple):
    """Rows never to return, query after query."""

    counts: Times
    """[B] how many rows are excluded for each query."""

    rows: Times
    """[sum of `counts`] rows, distinct within a query."""

    @classmethod
    def of(cls, rows: Sequence[Iterable[int]]) -> "Excluded":
        """The given rows of each query."""
        listed = [list(each) for each in rows]
        counts = np.array([len(each) for each in listed], dtype=np.int64)
        return cls(counts, np.array([row for each in listed for row in each], dtype=np.int64))


def search_many(
    index: FlatIndex, queries: Floats, limits: Times, excluded: Excluded, allowed: Selection | None = None
) -> Hits:
    """Find the vectors with the largest inner product for each of many queries.

    Args:
        index: N vectors.
        queries: [B, D] float32, finite.
        limits: [B] results wanted for each query, at least 1.
        excluded: Rows never to return.
        allowed: Which other rows may be returned to any of them; None for all.

    Returns:
        K = the largest limit, or N if that is less. A query has min(its limit, the number
        of rows that it may be returned) hits, which are those of `FlatIndex.search` bit
        for bit; what follows them in its row is to be ignored.

    Raises:
        ValueError: As `FlatIndex.search`.
    """
    check_search(index, queries, int(limits.min(initial=1)), allowed)
    refused = None if allowed is None else np.flatnonzero(~allowed.flags)
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    at_once = max(1, CELLS // index.size)
    ends = np.concatenate([[0], np.cumsum(excluded.counts)])
    width = min(int(limits.max(initial=1)), index.size)
    scores = np.empty((len(queries), width), dtype=np.float32)
    rows = np.empty((len(queries), width), dtype=np.int64)
    for first in range(0, len(queries), at_once):
        part = slice(first, first + at_once)
        counts = excluded.counts[part]
        barred = Excluded(counts, excluded.rows[ends[first] : ends[first] + counts.sum()])
        owners, found = _candidates(index, queries[part], limits[part], barred, refused)
        scores[part], rows[part] = _best(index, queries[part], owners, found, width)
    return Hits(scores, rows)


def _best(index: FlatIndex, queries: Floats, owners: Times, rows: Times, width: int) -> tuple[Floats, Times]:
    """[B, width] scores and rows of the best candidates, of which `rows` belong to the queries `owners`."""
    counts = np.bincount(owners, minlength=len(queries))
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((len(queries), max(int(counts.max()), width)), -1, dtype=np.int64)
    table[owners, columns] = rows
    scores = index.scores(queries, table)
    return best_first(scores, table, width)


def _candidates(
    index: FlatIndex, queries: Floats, limits: Times, excluded: Excluded, refused: Times | None
) -> tuple[Times, Times]:
    """Queries, in their order, and rows: all that can be among the best, and few more."""
    size = index.size
    limits = np.minimum(limits, size)
    group = max(1, min(GROUP, size // (_GROUPS_A_RESULT * int(limits.max()))))
    groups = -(-size // group)
    # Vectors by queries: so BLAS takes half as long as for queries by vectors.
    scores = np.empty((group * groups, len(queries)), dtype=np.float32)
    np.matmul(index.view, queries.T, out=scores[:size])
    scores[size:] = -np.inf
    if refused is not None:
        scores[refused] = -np.inf
    scores[excluded.rows, np.repeat(np.arange(len(queries)), excluded.counts)] = -np.inf
    # Row r is in group r % G, so that neighbours in the catalogue, which may be alike, are not together.
    best = np.ascontiguousarray(scores.reshape(group, groups, len(queries)).max(axis=0).T)  # [B, G]
    places = groups - limits
    distinct = [*set(places.tolist())]
    sure = np.partition(best, distinct, axis=1)[np.arange(len(queries)), places]
    # So many are at least as good as `sure`. Products of D terms, twice rounded, for each of two vectors.
    norms = np.linalg.norm(queries, axis=1) * index.longest
    floor = sure - 4 * (index.dim + 1) * _EPSILON * norms
    floor = np.maximum(floor, _LOWEST).astype(np.float32)  # what is excluded is below
    owners, found = np.divmod(np.flatnonzero(best >= floor[:, None]), groups)
    members = found[:, None] + groups * np.arange(group)
    good = scores[members, owners[:, None]] >= floor[owners, None]
    groups_of_good, _ = np.nonzero(good)
    return owners[groups_of_good], members[good]
