"""Lists of neighbours around centroids, of which a search looks through the nearest.

An inverted file (Sivic and Zisserman, 2003; Jegou et al., 2011, section IV): every vector is in the
list of the centroid that it is nearest to, by k-means on the sphere. Symbols as in `vectors`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np

from deepmoviematch.data.tables import Floats
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.approximate import ApproximateIndex
from deepmoviematch.indexer.search.vectors import Contents, FlatIndex, faiss_index, stay_on_one_thread

LISTS = 2.0
"""Lists for each square root of the number of vectors: to find the nearest costs as much as to read a few."""

ROUNDS = 10
SAMPLE = 64
"""Of k-means, and how many vectors it looks at for each centroid."""

_faiss: Any = faiss  # whose stubs lack what is used here


class IvfIndex(ApproximateIndex):
    """Looks through the lists of the nearest centroids; `breadth` is their number."""

    kind = "ivf"
    first_breadth, most_breadth = 8, 4096

    def __init__(self, index: Any) -> None:
        self._lists = _faiss.downcast_index(index.base_index)
        super().__init__(index, FlatIndex(faiss.downcast_index(index.refine_index)))

    @classmethod
    def of(cls, vectors: Floats) -> "IvfIndex":
        """The index over `vectors` [N, D]; on one thread, so that equal vectors make equal lists."""
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        size, dim = vectors.shape
        number = max(1, min(size, round(LISTS * size**0.5)))
        lists: Any = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, number, faiss.METRIC_INNER_PRODUCT)
        lists.nprobe = cls.first_breadth
        lists.cp.spherical, lists.cp.niter = True, ROUNDS
        lists.cp.min_points_per_centroid, lists.cp.max_points_per_centroid = 1, SAMPLE
        index: Any = faiss.IndexRefineFlat(lists)
        stay_on_one_thread()
        with _matrix_products():
            index.train(vectors)
            index.add(vectors)
        return cls(index)

    @classmethod
    def from_bytes(cls, contents: Contents, dim: int, size: int) -> "IvfIndex":
        """See `restore`."""
        if bytes(contents[:4]) != b"IxRF":
            raise GenerationError(f"an IVF index must begin with IxRF, got {bytes(contents[:4])!r}")
        try:
            index = faiss_index(contents)
            exact, lists = (_faiss.downcast_index(part) for part in (index.refine_index, index.base_index))
            _check(exact, lists, dim, size)
        except (RuntimeError, AttributeError) as error:
            raise GenerationError(f"an IVF index must be whole, got {error}") from error
        return cls(index)

    @property
    def breadth(self) -> int:
        """See `ApproximateIndex.breadth`."""
        return int(self._lists.nprobe)

    @breadth.setter
    def breadth(self, breadth: int) -> None:
        self._lists.nprobe = breadth

    def _follow(self, queries: Floats, fetch: int, breadth: int) -> tuple[Any, Any]:
        # The lists round in another order than exact search does, which scores what they give again.
        lists = _faiss.SearchParametersIVF(nprobe=breadth)
        parameters = _faiss.IndexRefineSearchParameters(k_factor=1, base_index_params=lists)
        scores, rows = self._index.search(queries, fetch, params=parameters)
        return scores, rows

    def _breadth_for(self, k: int) -> int:
        return self.breadth + int(2 * k * self._lists.nlist // self.size)

    def _compared(self, breadth: int) -> int:
        return int(self._lists.nlist + breadth * self.size // self._lists.nlist)


def _check(exact: Any, lists: Any, dim: int, size: int) -> None:
    """Hold what FAISS read to what searches rely on: every row is in one list.

    Raises:
        GenerationError: If it is anything else.
    """
    if not (type(lists) is faiss.IndexIVFFlat and isinstance(exact, faiss.IndexFlat)):
        raise GenerationError(
            f"an IVF index must be lists over flat vectors, got {type(lists).__name__} over "
            f"{type(exact).__name__}"
        )
    inner, centroids = faiss.METRIC_INNER_PRODUCT, _faiss.downcast_index(lists.quantizer)
    found = [(part.d, part.ntotal, part.metric_type) for part in (exact, lists)]
    if found != [(dim, size, inner)] * 2:
        raise GenerationError(
            f"an IVF index must hold {size} vectors of width {dim}, compared by inner product, got {found}"
        )
    contents = _faiss.downcast_InvertedLists(lists.invlists)
    if type(contents) is not faiss.ArrayInvertedLists:  # such as those in whatever file it names
        raise GenerationError(f"an IVF index must hold its own lists, got {type(contents).__name__}")
    if not (
        isinstance(centroids, faiss.IndexFlat)
        and (centroids.d, centroids.ntotal, centroids.metric_type) == (dim, lists.nlist, inner)
        and (contents.nlist, contents.code_size) == (lists.nlist, 4 * dim)
    ):
        raise GenerationError("an IVF index must have one list of vectors for each of its centroids")
    members = [
        _faiss.rev_swig_ptr(contents.get_ids(each), contents.list_size(each))
        for each in range(lists.nlist)
        if contents.list_size(each)
    ]
    rows = np.sort(np.concatenate(members)) if members else np.empty(0, dtype=np.int64)
    if not np.array_equal(rows, np.arange(size)):
        raise GenerationError(f"the lists of an IVF index must hold each of {size} rows once")


@contextmanager
def _matrix_products() -> Iterator[None]:
    """Let FAISS compare many vectors with many centroids by BLAS, which `vectors` forbids for searches."""
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 20
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before
