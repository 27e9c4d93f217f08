"""Approximate search: a graph of neighbours, for catalogues too large to compare item by item.

The time that a search takes grows with the logarithm of the catalogue (Malkov and
Yashunin, 2018). It may miss a vector; where it would be likely to, every vector is
compared after all, and `Hits.exact` says so. Symbols as in `vectors`.
"""

from typing import Any

import faiss
import numpy as np

from deepmoviematch.data.tables import Flags, Floats, Times
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.vectors import (
    Contents,
    FlatIndex,
    Hits,
    check_search,
    faiss_index,
    stay_on_one_thread,
)

LINKS = 32
"""Neighbours of a vector, M in the paper; twice as many on the lowest level."""

BUILD_BREADTH = 100
SEARCH_BREADTH = 64
"""Candidates kept in view (efConstruction and ef in the paper) when building, and to begin with."""

MOST_BREADTH = 1024
"""No file may ask for more."""

_parameters: Any = faiss.SearchParametersHNSW  # type: ignore[attr-defined]  # missing in its stubs

EXACT_UP_TO = 2000
"""Of so few vectors a search by comparison is no slower."""

COMPARED = 16
"""Vectors that are compared with a query for each candidate in view, about."""


class HnswIndex:
    """Follows the graph, and compares every vector where that is safer."""

    kind = "hnsw"

    def __init__(self, index: Any) -> None:
        self._index = index
        self.exact = FlatIndex(faiss.downcast_index(index.storage))
        self.dim = int(index.d)
        self.size = int(index.ntotal)

    @classmethod
    def of(cls, vectors: Floats) -> "HnswIndex":
        """The index over `vectors` [N, D]; on one thread, so that equal vectors make equal graphs."""
        index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = BUILD_BREADTH, SEARCH_BREADTH
        stay_on_one_thread()
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return cls(index)

    @classmethod
    def from_bytes(cls, contents: Contents, dim: int, size: int) -> "HnswIndex":
        """See `restore`."""
        if bytes(contents[:4]) != b"IHNf":
            raise GenerationError(f"an HNSW index must begin with IHNf, got {bytes(contents[:4])!r}")
        try:
            index = faiss_index(contents)  # which sees to it that every link leads to a vector
            storage = faiss.downcast_index(index.storage)
        except RuntimeError as error:
            raise GenerationError(f"an HNSW index must be whole, got {error}") from error
        if not (type(storage) is faiss.IndexFlatIP and (index.d, index.ntotal) == (dim, size)):
            raise GenerationError(
                f"an HNSW index must hold {size} vectors of width {dim}, got {index.ntotal} of {index.d}"
            )
        if not 1 <= index.hnsw.efSearch <= MOST_BREADTH:
            raise GenerationError(
                f"the breadth of a search must be 1 to {MOST_BREADTH}, got {index.hnsw.efSearch}"
            )
        return cls(index)

    @property
    def breadth(self) -> int:
        """Candidates kept in view during a search: the more, the slower and the surer."""
        return int(self._index.hnsw.efSearch)

    @breadth.setter
    def breadth(self, breadth: int) -> None:
        self._index.hnsw.efSearch = breadth

    def compares_all(self, k: int, count: int | None = None) -> bool:
        """See `VectorIndex.compares_all`."""
        among = self.size if count is None else count
        return among <= max(k, EXACT_UP_TO, COMPARED * self._reach(k, count)[1])

    def _reach(self, k: int, count: int | None) -> tuple[int, int]:
        """How many vectors to fetch for the best `k` of `count` allowed ones, and candidates in view."""
        fetch, breadth = k + 1, max(self.breadth, 2 * k)
        if count is None:
            return fetch, breadth
        # The fewer rows are allowed, the more have to be visited to find as many of them. The best
        # are asked for whether allowed or not, twice as many as would do by chance: told what is
        # allowed, FAISS would make up for a lack of near rows with distant ones that it passed on
        # its way, and nobody could tell.
        return 2 * fetch * self.size // max(count, 1), breadth * self.size // max(count, 1)

    def search(self, queries: Floats, k: int, *, allowed: Flags | None = None) -> Hits:
        """See `VectorIndex.search`."""
        check_search(self, queries, k, allowed)
        count = None if allowed is None else int(np.count_nonzero(allowed))
        if self.compares_all(k, count):
            return self.exact.search(queries, k, allowed=allowed)
        fetch, breadth = self._reach(k, count)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        stay_on_one_thread()
        scores, rows = self._index.search(queries, fetch, params=_parameters(efSearch=breadth))
        if allowed is not None:
            scores, rows = _best_allowed(scores, rows, k + 1, allowed)
        unsure = (rows < 0).any(axis=1) | (scores[:, 1:] == scores[:, :-1]).any(axis=1)
        scores, rows = scores[:, :k], rows[:, :k]
        if unsure.any():  # too few were found, or some tie and others may tie with them
            exact = self.exact.search(queries[unsure], k, allowed=allowed)
            scores[unsure], rows[unsure] = exact.scores, exact.rows
        return Hits(scores, rows, exact=bool(unsure.all()))

    def nearest(
        self, query: Floats, k: int, *, allowed: Flags | None = None
    ) -> tuple[list[int], list[float], bool]:
        """See `VectorIndex.nearest`."""
        hits = self.search(query[None], k, allowed=allowed)
        return hits.rows[0].tolist(), hits.scores[0].tolist(), hits.exact

    def vectors(self) -> Floats:
        """See `VectorIndex.vectors`."""
        return self.exact.vectors()

    def to_bytes(self) -> bytes:
        """See `VectorIndex.to_bytes`."""
        contents: bytes = faiss.serialize_index(self._index).tobytes()
        return contents


def _best_allowed(scores: Floats, rows: Times, k: int, allowed: Flags) -> tuple[Floats, Times]:
    """The first `k` of each ranking [B, fetch] that are allowed, -1 for a row where there are no more."""
    rows = np.where((rows >= 0) & allowed[rows], rows, -1)
    order = np.argsort(rows < 0, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
