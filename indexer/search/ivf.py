"""Lists of neighbours around centroids, of which a search looks through the nearest.

An inverted file (Sivic and Zisserman, 2003; Jegou et al., 2011, section IV): every vector is in the
list of the centroid that it is nearest to, by k-means on the sphere. How many lists are looked through
depends on what is found. First come those whose mean is nearest to the query, until enough of the
allowed vectors were met; then every other list that may hold a better one. The scores of its vectors
spread around that of its mean, in the direction of the query as in all lists together, and so many
standard deviations above it hardly any are. So whatever a filter keeps out, near the query or
anywhere, as many lists are read as that takes. Symbols as in `vectors`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import faiss
import numpy as np

from deepmoviematch.data.arrays import Floats, Longs
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.approximate import ApproximateIndex
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.indexer.search.vectors import (
    Contents,
    FlatIndex,
    best_first,
    faiss_index,
    stay_on_one_thread,
)

LISTS = 2.0
"""Lists for each square root of the number of vectors: to find the nearest costs as much as to read a few."""

FEW = 128
"""Lists that mostly have enough members."""

STEP = 0.5
"""Standard deviations that one step of `breadth` is: one more step, and a search of a million reads twice."""

ROUNDS = 10
SAMPLE = 64
"""Of k-means, and how many vectors it looks at for each centroid."""

_faiss: Any = faiss  # whose stubs lack what is used here


class IvfIndex(ApproximateIndex):
    """Looks through lists; `breadth` is the steps of `STEP` within which one may hold a better vector."""

    kind = "ivf"
    first_breadth, most_breadth = 6, 4096

    def __init__(self, index: Any) -> None:
        self._lists = _faiss.downcast_index(index.base_index)
        super().__init__(index, FlatIndex(faiss.downcast_index(index.refine_index)))
        self._counted: WeakKeyDictionary[Selection, Longs] = WeakKeyDictionary()
        self._owners = np.empty(self.size, dtype=np.int32)
        self._sizes = np.zeros(self._lists.nlist, dtype=np.int64)
        self._means = np.zeros((self._lists.nlist, self.dim), dtype=np.float32)
        spreads = np.zeros(self._lists.nlist, dtype=np.float32)
        scatter = np.zeros((self.dim, self.dim), dtype=np.float32)
        for each, rows, vectors in _lists_of(_faiss.downcast_InvertedLists(self._lists.invlists)):
            self._owners[rows], self._sizes[each] = each, len(rows)
            self._means[each] = mean = vectors.mean(axis=0)
            around = vectors - mean
            spreads[each] = np.sqrt(np.mean(around**2))
            scatter += around.T @ around
        self._covariance = scatter / self.size  # [D, D] within lists
        # [lists] how much more the vectors of one spread than those of all.
        self._spreads = spreads / max(float(np.sqrt(np.trace(self._covariance) / self.dim)), 1e-12)

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

    def broaden(self) -> None:
        """See `ApproximateIndex.broaden`."""
        self.breadth += 1

    def _find(self, queries: Floats, fetch: int, allowed: Selection | None) -> tuple[Any, Any]:
        rows = np.full((len(queries), 2 * fetch), -1, dtype=np.int64)
        members = self._sizes if allowed is None else self._members(allowed)
        enough = max(self.size // len(members), 2 * fetch)
        for query, found in zip(queries, rows, strict=True):
            nearness = self._means.dot(query)
            first = _first(nearness, members, enough)
            worst = self._read(first, query, found[:fetch], allowed)
            deviation = np.sqrt(max(float(self._covariance.dot(query).dot(query)), 0))
            reach = STEP * self.breadth * deviation * self._spreads
            hopeful = (nearness + reach >= worst) & (members > 0)
            hopeful[first] = False
            self._read(np.flatnonzero(hopeful), query, found[fetch:], allowed)
        # The lists round in another order than exact search does.
        scores = self.exact.scores(queries, rows)
        return best_first(scores, rows, fetch)

    def _read(self, lists: Longs, query: Floats, found: Longs, allowed: Selection | None) -> float:
        """Put the best allowed rows of some lists into `found`, -1 where there are no more.

        Returns:
            The worst score of them; minus infinity where there are no more.
        """
        if len(lists) == 0:
            return -np.inf
        scores = np.empty(len(found), dtype=np.float32)
        selector = None if allowed is None else allowed.selector
        parameters = _faiss.SearchParametersIVF(sel=selector, nprobe=len(lists))
        nearness = np.zeros(len(lists), dtype=np.float32)  # which only lists of residuals need
        pointers = [faiss.swig_ptr(each) for each in (lists, nearness, scores, found)]
        self._lists.search_preassigned_c(1, faiss.swig_ptr(query), len(found), *pointers, False, parameters)
        return float(scores[-1]) if found[-1] >= 0 else -np.inf

    def _members(self, allowed: Selection) -> Longs:
        """[lists] how many allowed rows each list has."""
        members = self._counted.get(allowed)
        if members is None:
            members = np.bincount(self._owners[allowed.flags], minlength=len(self._sizes))
            self._counted[allowed] = members
        return members

    def _compared(self, k: int) -> int:
        return int(self._lists.nlist + 4 * self.size // self._lists.nlist)


def _first(nearness: Floats, members: Longs, enough: int) -> Longs:
    """The nearest lists, the nearest first, until they have more than `enough` members, or all of them."""
    if len(nearness) > FEW:  # to put all in order takes longer than to look through some
        nearest = np.argpartition(nearness, -FEW)[-FEW:]
        nearest = nearest[np.argsort(-nearness[nearest])]
        met = np.cumsum(members[nearest])
        if met[-1] > enough:
            return nearest[: np.searchsorted(met, enough) + 1]
    order = np.argsort(-nearness)
    return order[: np.searchsorted(np.cumsum(members[order]), enough) + 1]


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
    members = [rows for _, rows, _ in _lists_of(contents)]
    rows = np.sort(np.concatenate(members)) if members else np.empty(0, dtype=np.int64)
    if not np.array_equal(rows, np.arange(size)):
        raise GenerationError(f"the lists of an IVF index must hold each of {size} rows once")


def _lists_of(contents: Any) -> Iterator[tuple[int, Longs, Floats]]:
    """Rows and vectors [rows, D] in each list that has any."""
    for each in range(contents.nlist):
        if size := contents.list_size(each):
            codes = _faiss.rev_swig_ptr(contents.get_codes(each), size * contents.code_size)
            vectors = codes.view(np.float32).reshape(size, -1)
            yield each, _faiss.rev_swig_ptr(contents.get_ids(each), size), vectors


@contextmanager
def _matrix_products() -> Iterator[None]:
    """Let FAISS compare many vectors with many centroids by BLAS, which `vectors` forbids for searches."""
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 20
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before
