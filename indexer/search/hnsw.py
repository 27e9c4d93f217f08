"""A graph of neighbours (Malkov and Yashunin, 2018).

The time that a search takes grows with the logarithm of the catalogue where queries lie near
vectors, as those of `similar` do. Symbols as in `vectors`.
"""

from typing import Any

import faiss
import numpy as np

from deepmoviematch.data.tables import Floats
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.approximate import ApproximateIndex
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

    def _follow(self, queries: Floats, fetch: int, breadth: int) -> tuple[Any, Any]:
        scores, rows = self._index.search(queries, fetch, params=_parameters(efSearch=breadth))
        return scores, rows

    def _breadth_for(self, k: int) -> int:
        return max(self.breadth, 2 * k)

    def _compared(self, breadth: int) -> int:
        return COMPARED * breadth
