"""Vector indexes: which rows have the largest inner product with a query.

Every backend answers alike, held to it by one conformance suite: best first, ties
by the lower row, never a row that is not allowed, never padding. Symbols: `B`
queries, `N` vectors, `D` width, `K` results per query.

To add a backend: a class in a module of its own, its entry in `kinds.KINDS`, and its
name in the conformance suite.
"""

import struct
import threading
from collections.abc import Sequence
from functools import cached_property
from math import isfinite
from typing import Any, NamedTuple, Protocol, TypeAlias

import faiss
import numpy as np
import numpy.typing as npt

from deepmoviematch.data.arrays import Floats, Longs
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.selection import Selection

# Never BLAS, which some versions of FAISS use for batches: a query would get other bits in a
# batch than alone, and equal vectors other scores.
faiss.cvar.distance_compute_blas_threshold = 2**31 - 1


Contents: TypeAlias = bytes | npt.NDArray[np.uint8]
"""A file's contents: in memory, or mapped."""

_here = threading.local()

_TIELESS = 2000
"""`nearest` fetches no more for a query: among more scores some are equal by chance, which it cannot have."""

_SUBSET = 8
"""Where fewer than one row in so many is allowed, these alone are scored, gathered one by one."""


class Hits(NamedTuple):
    """What a search found, best first; equal scores are in the order of their rows."""

    scores: Floats
    """[B, K] inner products."""

    rows: Longs
    """[B, K] rows of the vectors, 0 to N - 1, distinct within a query."""

    exact: bool = True
    """Whether every vector was compared with every query."""


class Found(NamedTuple):
    """What was found for one query, as `Hits` are."""

    rows: list[int]
    """[K]."""

    scores: list[float]
    """[K]."""

    exact: bool
    """Whether every vector was compared."""


class VectorIndex(Protocol):
    """N vectors of width D, ready to be searched by any number of threads."""

    @property
    def kind(self) -> str:
        """The backend's name in `kinds.KINDS`."""

    @property
    def dim(self) -> int:
        """D, the width of a vector."""

    @property
    def size(self) -> int:
        """N, the number of vectors."""

    def compares_all(self, k: int, count: int | None = None) -> bool:
        """Whether a search is sure to be exact, before it is made.

        Args:
            k: Results wanted per query.
            count: How many rows are allowed; None where nothing is said about that.
        """

    def search(self, queries: Floats, k: int, *, allowed: Selection | None = None) -> Hits:
        """Find the `k` vectors with the largest inner product for each query.

        Args:
            queries: [B, D] float32, finite.
            k: Results wanted per query, at least 1.
            allowed: Which rows may be returned; None for all.

        Returns:
            K = min(k, number of allowed rows) hits per query.

        Raises:
            ValueError: If a shape is wrong, `k` is below 1 or a query is not finite.
        """

    def nearest(
        self, queries: Floats, counts: Sequence[int], *, allowed: Selection | None = None
    ) -> list[Found]:
        """What `search` finds for each query alone; sooner where that can be.

        Args:
            queries: [B, D] float32, finite.
            counts: [B] results wanted, at least 1.
            allowed: Which rows may be returned; None for all.

        Returns:
            For each query min(its count, number of allowed rows) hits.

        Raises:
            ValueError: As `search`.
        """

    @property
    def exact(self) -> "FlatIndex":
        """Exact search over the same vectors: the index itself where it is exact."""

    def to_bytes(self) -> bytes:
        """The index as a file's contents, for `kinds.restore`."""


class FlatIndex:
    """Exact search: every vector is compared with every query."""

    kind = "flat"

    def __init__(self, index: Any) -> None:
        self._index = index
        self.dim = int(index.d)
        self.size = int(index.ntotal)

    @classmethod
    def of(cls, vectors: Floats) -> "FlatIndex":
        """The index over `vectors` [N, D]."""
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return cls(index)

    @classmethod
    def from_bytes(cls, contents: Contents, dim: int, size: int) -> "FlatIndex":
        """See `kinds.restore`."""
        expected = _flat_header(dim, size)
        if bytes(contents[: len(expected)]) != expected or len(contents) != len(expected) + 4 * dim * size:
            raise GenerationError(
                f"a flat index of {size} vectors of width {dim} must have their header and length, "
                f"got {len(contents)} bytes that begin with {bytes(contents[:12]).hex()}"
            )
        return cls(faiss_index(contents))

    def compares_all(self, k: int, count: int | None = None) -> bool:
        """See `VectorIndex.compares_all`."""
        return True

    def search(self, queries: Floats, k: int, *, allowed: Selection | None = None) -> Hits:
        """See `VectorIndex.search`."""
        check_search(self, queries, k, allowed)
        count = self.size if allowed is None else allowed.count
        k = min(k, count)
        if k == 0 or len(queries) == 0:
            shape = (len(queries), k)
            return Hits(np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.int64))
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if allowed is not None and _SUBSET * count < self.size:
            return self._best_of(allowed.rows, queries, k)
        parameters = None
        if allowed is not None:
            parameters = faiss.SearchParameters(sel=allowed.selector)  # type: ignore[call-arg]  # missing in its stubs
        stay_on_one_thread()
        fetch = min(k + 1, count)
        while True:
            scores, rows = self._index.search(queries, fetch, params=parameters)
            # FAISS keeps any of the vectors that tie at its cut, so look past it.
            if fetch == count or (scores[:, -1] < scores[:, k - 1]).all():
                break
            fetch = min(2 * fetch, count)
        return Hits(*best_first(scores, rows, k))

    def _best_of(self, rows: Longs, queries: Floats, k: int) -> Hits:
        """The best `k` of some rows [C], which are in ascending order."""
        scores = self.scores(queries, np.tile(rows, (len(queries), 1)))
        cuts = np.partition(scores, len(rows) - k, axis=1)[:, len(rows) - k]
        best = np.empty((len(queries), k), dtype=np.int64)
        for place, (found, cut) in enumerate(zip(scores, cuts, strict=True)):
            contenders = np.flatnonzero(found >= cut)  # all that tie at the cut, too
            best[place] = contenders[np.argsort(-found[contenders], kind="stable")[:k]]
        return Hits(np.take_along_axis(scores, best, axis=1), rows[best])

    def nearest(
        self, queries: Floats, counts: Sequence[int], *, allowed: Selection | None = None
    ) -> list[Found]:
        """See `VectorIndex.nearest`."""
        fetch = max(counts, default=0) + 1
        if allowed is not None:
            # Comparing with all is quicker than telling FAISS what is allowed. So it is asked for
            # twice as many as are needed of rows that do not depend on the query.
            share = allowed.count
            fetch = 2 * fetch * self.size // share if _SUBSET * share >= self.size else 0
        fetch = min(fetch, self.size) if min(counts, default=0) >= 1 else 0
        if not (
            0 < fetch <= _TIELESS
            and queries.shape == (len(counts), self.dim)
            and queries.dtype == np.float32
            and queries.flags.c_contiguous
        ):  # few are allowed, very many wanted, or it is to be refused
            return one_by_one(self, queries, counts, allowed)
        scores = np.empty((len(queries), fetch), dtype=np.float32)
        rows = np.empty((len(queries), fetch), dtype=np.int64)
        stay_on_one_thread()
        # Past FAISS's own wrapper of `search`, which takes as long as a small search.
        pointers = faiss.swig_ptr(queries), fetch, faiss.swig_ptr(scores), faiss.swig_ptr(rows)
        self._index.search_c(len(queries), *pointers)
        found = []
        for place, (k, near, worth) in enumerate(zip(counts, rows, scores, strict=True)):
            passing: Any = slice(k + 1)
            if allowed is not None:
                passing = np.flatnonzero(allowed.flags[near])[: k + 1]
            best, best_rows = worth[passing].tolist(), near[passing].tolist()
            enough = len(best) > k or fetch == self.size
            if enough and len(set(best)) == len(best) and -1 not in best_rows and isfinite(sum(best)):
                found.append(Found(best_rows[:k], best[:k], exact=True))
            else:  # too few, ties, or what is to be refused
                found += one_by_one(self, queries[place : place + 1], [k], allowed)
        return found

    @property
    def exact(self) -> "FlatIndex":
        """See `VectorIndex.exact`."""
        return self

    @property
    def view(self) -> Floats:
        """The [N, D] vectors themselves, not to be changed nor kept longer than the index."""
        floats: Floats = faiss.rev_swig_ptr(self._index.get_xb(), self.size * self.dim)
        return floats.reshape(self.size, self.dim)

    @cached_property
    def longest(self) -> float:
        """The length of the longest vector."""
        return float(np.linalg.norm(self.view, axis=1).max())

    def scores(self, queries: Floats, rows: Longs) -> Floats:
        """The scores that `search` gives to chosen vectors, to the bit.

        Args:
            queries: [B, D] float32, C-contiguous.
            rows: [B, C] int64, C-contiguous: rows of the vectors, or -1 for none.

        Returns:
            [B, C] float32, minus infinity where there is none.
        """
        scores = np.empty(rows.shape, dtype=np.float32)
        pointers = faiss.swig_ptr(queries), rows.shape[1], faiss.swig_ptr(scores), faiss.swig_ptr(rows)
        stay_on_one_thread()
        self._index.compute_distance_subset(len(queries), *pointers)
        scores[rows < 0] = -np.inf
        return scores

    def vectors_at(self, rows: Longs) -> Floats:
        """A copy of the vectors [R, D] of the rows [R]."""
        vectors: Floats = self._index.reconstruct_batch(rows)
        return vectors

    def to_bytes(self) -> bytes:
        """See `VectorIndex.to_bytes`."""
        return serialised(self._index)


def stay_on_one_thread() -> None:
    """Keep FAISS from starting threads of its own: requests have theirs.

    OpenMP remembers this for each thread, and any thread may come by.
    """
    if not getattr(_here, "stays", False):
        faiss.omp_set_num_threads(1)
        _here.stays = True


def serialised(index: Any) -> bytes:
    """FAISS's index as a file's contents."""
    contents: bytes = faiss.serialize_index(index).tobytes()
    return contents


_reading = threading.Lock()
"""Held while an index is read: FAISS has one limit for the whole process."""


def faiss_index(contents: Contents) -> Any:
    """FAISS's index from its file's contents: a mapped file stays where it is.

    Raises:
        RuntimeError: If FAISS finds fault.
    """
    data = np.frombuffer(contents, dtype=np.uint8)
    reader: Any = faiss.ZeroCopyIOReader  # type: ignore[attr-defined]  # missing in its stubs
    limit: Any = faiss.set_deserialization_vector_byte_limit
    with _reading:
        limit(data.nbytes)  # nothing in a file may claim more memory than the file has
        if isinstance(contents, bytes):
            return faiss.deserialize_index(data)
        index: Any = faiss.read_index(reader(faiss.swig_ptr(data), data.nbytes))
    index.referenced_objects = [contents]  # FAISS's own way to keep what an index points to
    return index


def best_first(scores: Floats, rows: Longs, k: int) -> tuple[Floats, Longs]:
    """The best `k` of the scores [B, C] and their rows, those of equal scores in the order of the rows."""
    order = np.lexsort((rows, -scores))[:, :k]
    each = np.arange(len(scores))[:, None]
    return scores[each, order], rows[each, order]


def one_by_one(
    index: VectorIndex, queries: Floats, counts: Sequence[int], allowed: Selection | None
) -> list[Found]:
    """What `index.search` finds for each query alone; arguments as of `VectorIndex.nearest`."""
    found = []
    for query, k in zip(queries, counts, strict=True):
        hits = index.search(query[None], k, allowed=allowed)
        found.append(Found(hits.rows[0].tolist(), hits.scores[0].tolist(), hits.exact))
    return found


def check_search(index: VectorIndex, queries: Floats, k: int, allowed: Selection | None) -> None:
    """Refuse what `VectorIndex.search` says it refuses."""
    if queries.ndim != 2 or queries.shape[1] != index.dim:
        raise ValueError(f"queries must have shape (B, {index.dim}), got {queries.shape}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    flags = None if allowed is None else allowed.flags
    if flags is not None and (flags.shape != (index.size,) or flags.dtype != np.bool_):
        raise ValueError(f"allowed must hold {index.size} flags, got {flags.dtype} {flags.shape}")
    if not np.isfinite(queries).all():
        raise ValueError("queries must be finite, got NaN or infinity")


def _flat_header(dim: int, size: int) -> bytes:
    """How FAISS begins an IndexFlatIP: its reader trusts lengths, so it gets to see no others.

    Four letters, width, count, two reserved words, trained, metric (0 is the inner
    product), number of floats.
    """
    return struct.pack("<4siqqq?iQ", b"IxFI", dim, size, 1 << 20, 1 << 20, True, 0, dim * size)
