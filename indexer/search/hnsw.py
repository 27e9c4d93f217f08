"""A graph of neighbours (Malkov and Yashunin, 2018).

The time that a search takes grows with the logarithm of the catalogue where queries lie near
vectors, as those of `similar` do. Symbols as in `vectors`.
"""

from typing import Any

import faiss
import numpy as np

from deepmoviematch.data.arrays import Flags, Floats, Longs
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.approximate import ApproximateIndex
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.indexer.search.vectors import Contents, FlatIndex, faiss_index, stay_on_one_thread

LINKS = 32
"""Neighbours of a vector, M in the paper; twice as many on the lowest level."""

BUILD_BREADTH = 100
"""Candidates kept in view when building, efConstruction in the paper."""

COMPARED = 16
"""Vectors that are compared with a query for each candidate in view, about."""

_parameters: Any = faiss.SearchParametersHNSW  # type: ignore[attr-defined]  # missing in its stubs


class HnswIndex(ApproximateIndex):
    """Follows the graph; `breadth` is the number of candidates in view, ef in the paper."""

    kind = "hnsw"
    first_breadth, most_breadth = 64, 1024

    def __init__(self, index: Any) -> None:
        super().__init__(index, FlatIndex(faiss.downcast_index(index.storage)))

    @classmethod
    def of(cls, vectors: Floats) -> "HnswIndex":
        """The index over `vectors` [N, D]; on one thread, so that equal vectors make equal graphs."""
        index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = BUILD_BREADTH, cls.first_breadth
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
        return cls(index)

    @property
    def breadth(self) -> int:
        """See `ApproximateIndex.breadth`."""
        return int(self._index.hnsw.efSearch)

    @breadth.setter
    def breadth(self, breadth: int) -> None:
        self._index.hnsw.efSearch = breadth

    def broaden(self) -> None:
        """See `ApproximateIndex.broaden`."""
        self.breadth *= 2

    def _find(self, queries: Floats, fetch: int, allowed: Selection | None) -> tuple[Any, Any]:
        breadth = max(self.breadth, 2 * fetch)
        if allowed is None:
            return self._follow(queries, fetch, breadth)
        # The fewer rows are allowed, the more have to be visited to find as many of them. The best
        # are asked for whether allowed or not, twice as many as would do by chance: told what is
        # allowed, FAISS would make up for a lack of near rows with distant ones that it passed on
        # its way, and nobody could tell.
        share = max(allowed.count, 1)
        found = self._follow(queries, 2 * fetch * self.size // share, breadth * self.size // share)
        return _best_allowed(*found, fetch, allowed.flags)

    def _follow(self, queries: Floats, fetch: int, breadth: int) -> tuple[Any, Any]:
        scores, rows = self._index.search(queries, fetch, params=_parameters(efSearch=breadth))
        return scores, rows

    def _compared(self, k: int) -> int:
        return COMPARED * max(self.breadth, 2 * k)


def _best_allowed(scores: Floats, rows: Longs, k: int, allowed: Flags) -> tuple[Floats, Longs]:
    """The first `k` of each ranking [B, fetch] that are allowed, -1 for a row where there are no more."""
    rows = np.where((rows >= 0) & allowed[rows], rows, -1)
    order = np.argsort(rows < 0, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
