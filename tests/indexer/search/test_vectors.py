"""The conformance suite: whatever is named in `BACKENDS` answers like brute force."""

import threading
from collections.abc import Callable
from typing import TypeAlias

import faiss
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays

from deepmoviematch.data.arrays import Flags, Floats
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.hnsw import HnswIndex
from deepmoviematch.indexer.search.ivf import IvfIndex
from deepmoviematch.indexer.search.kinds import KINDS, restore
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.indexer.search.vectors import FlatIndex, Hits, VectorIndex
from tests.indexer.selections import selected

Backend: TypeAlias = Callable[[Floats], VectorIndex]

BACKENDS: dict[str, Backend] = {"flat": FlatIndex.of, "ivf": IvfIndex.of, "hnsw": HnswIndex.of}

WHOLE = st.integers(-3, 3).map(float)  # sums of products of these are exact, so ties are too


def brute_force(vectors: Floats, queries: Floats, k: int, allowed: Flags | None = None) -> list[list[int]]:
    rows = range(len(vectors)) if allowed is None else np.flatnonzero(allowed).tolist()
    return [sorted(rows, key=lambda row: (-float(vectors[row] @ query), row))[:k] for query in queries]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]


def test_every_kind_of_index_is_under_test() -> None:
    assert BACKENDS.keys() == KINDS.keys()


@pytest.mark.parametrize("name", BACKENDS)
@given(data=st.data())
def test_it_answers_like_brute_force(name: str, data: st.DataObject) -> None:
    size, dim, batch = (data.draw(st.integers(1, top)) for top in (40, 9, 4))
    vectors = data.draw(arrays.arrays(np.float32, (size, dim), elements=WHOLE))
    queries = data.draw(arrays.arrays(np.float32, (batch, dim), elements=WHOLE))
    allowed = data.draw(st.none() | arrays.arrays(np.bool_, size))
    k = data.draw(st.integers(1, size + 3))
    hits = BACKENDS[name](vectors).search(queries, k, allowed=selected(allowed))
    assert hits.rows.tolist() == brute_force(vectors, queries, k, allowed)
    assert (hits.scores == np.take_along_axis(queries @ vectors.T, hits.rows, axis=1)).all()


@pytest.mark.parametrize("name", BACKENDS)
@given(data=st.data())
def test_few_queries_are_each_answered_like_brute_force(name: str, data: st.DataObject) -> None:
    size, dim = (data.draw(st.integers(1, top)) for top in (40, 9))
    vectors = data.draw(arrays.arrays(np.float32, (size, dim), elements=WHOLE))
    counts = data.draw(st.lists(st.integers(1, size + 3), max_size=3))
    queries = data.draw(arrays.arrays(np.float32, (len(counts), dim), elements=WHOLE))
    allowed = data.draw(st.none() | arrays.arrays(np.bool_, size))
    found = BACKENDS[name](vectors).nearest(queries, counts, allowed=selected(allowed))
    for query, k, (rows, scores, exact) in zip(queries, counts, found, strict=True):
        assert exact
        assert [rows] == brute_force(vectors, query[None], k, allowed)
        assert scores == [float(vectors[row] @ query) for row in rows]


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("k", [1, 5, 29, 30, 31, 60, 250])
def test_it_returns_the_lowest_of_the_rows_that_tie_at_the_cut(
    backend: Backend, k: int, filtered: bool
) -> None:
    rng = np.random.default_rng(1)
    vectors = unit(rng, 300, 7)
    twins = np.sort(rng.permutation(300)[:90])
    vectors[twins] = vectors[twins[0]]
    allowed = np.ones(300, dtype=np.bool_)
    allowed[twins[::3]] = not filtered
    hits = backend(vectors).search(vectors[twins[:1]], k, allowed=selected(allowed if filtered else None))
    best = [row for row in twins if allowed[row]]
    assert hits.rows[0, : len(best)].tolist() == best[:k]


@pytest.mark.parametrize("k", [99, 100, 150, 500])
def test_it_breaks_ties_by_row_however_many_are_wanted(backend: Backend, k: int) -> None:
    rng = np.random.default_rng(8)
    for _ in range(10):
        vectors = rng.integers(-1, 2, size=(2000, 3)).astype(np.float32)
        query = rng.integers(-2, 3, size=(1, 3)).astype(np.float32)
        assert backend(vectors).search(query, k).rows.tolist() == brute_force(vectors, query, k)


def test_equal_vectors_score_equally_wherever_they_are(backend: Backend) -> None:
    rng = np.random.default_rng(2)
    for dim in (1, 2, 3, 4, 8, 16, 33, 65):
        vectors = unit(rng, 103, dim)
        vectors[5::7] = vectors[3]
        scores = scores_by_row(backend(vectors).search(unit(rng, 40, dim), 103))
        assert (scores[:, 5::7] == scores[:, 3:4]).all()


def test_a_batch_gets_the_bits_that_its_queries_get_alone(backend: Backend) -> None:
    rng = np.random.default_rng(3)
    index, queries = backend(unit(rng, 10_001, 17)), unit(rng, 70, 17)
    together = index.search(queries, 20)
    for row, query in enumerate(queries):
        alone = index.search(query[None], 20)
        assert (alone.rows[0] == together.rows[row]).all()
        assert (alone.scores[0] == together.scores[row]).all()


def test_it_returns_what_there_is_if_more_is_wanted(backend: Backend) -> None:
    hits = backend(np.eye(3, dtype=np.float32)).search(np.ones((2, 3), dtype=np.float32), 1000)
    assert hits.rows.tolist() == [[0, 1, 2]] * 2


def test_it_returns_no_more_than_is_allowed(backend: Backend) -> None:
    index = backend(np.eye(3, dtype=np.float32))
    hits = index.search(
        np.ones((1, 3), dtype=np.float32), 3, allowed=Selection(np.array([False, True, False]))
    )
    assert hits.rows.tolist() == [[1]]


def test_it_returns_nothing_if_nothing_is_allowed(backend: Backend) -> None:
    index = backend(np.eye(3, dtype=np.float32))
    hits = index.search(np.ones((2, 3), dtype=np.float32), 3, allowed=Selection(np.zeros(3, dtype=np.bool_)))
    assert hits.scores.shape == hits.rows.shape == (2, 0)


def test_it_answers_no_query_with_no_hits(backend: Backend) -> None:
    hits = backend(np.eye(3, dtype=np.float32)).search(np.empty((0, 3), dtype=np.float32), 2)
    assert hits.scores.shape == hits.rows.shape == (0, 2)


def test_it_answers_a_query_of_zeros_in_row_order(backend: Backend) -> None:
    hits = backend(unit(np.random.default_rng(4), 200, 5)).search(np.zeros((1, 5), dtype=np.float32), 9)
    assert hits.rows.tolist() == [list(range(9))]


def test_it_takes_queries_in_any_memory_order(backend: Backend) -> None:
    rng = np.random.default_rng(5)
    index, queries = backend(unit(rng, 50, 6)), unit(rng, 4, 6)
    expected = index.search(queries, 5).rows
    assert (index.search(np.asfortranarray(queries), 5).rows == expected).all()
    assert (index.search(np.repeat(queries, 2, axis=0)[::2], 5).rows == expected).all()


@pytest.mark.parametrize(
    ("queries", "k", "allowed", "message"),
    [
        (np.ones((1, 2)), 1, None, r"shape \(B, 3\), got \(1, 2\)"),
        (np.ones(3), 1, None, r"shape \(B, 3\), got \(3,\)"),
        (np.ones((1, 3)), 0, None, "k must be at least 1, got 0"),
        (np.array([[1, np.nan, 1]]), 1, None, "must be finite"),
        (np.array([[1, np.inf, 1]]), 1, None, "must be finite"),
        (np.ones((1, 3)), 1, np.ones(2, dtype=np.bool_), "must hold 3 flags, got bool"),
        (np.ones((1, 3)), 1, np.array([0, 1, 2]), "must hold 3 flags, got int64"),
    ],
    ids=["too narrow", "no batch", "k too small", "NaN", "infinity", "too few flags", "rows for flags"],
)
def test_it_refuses(backend: Backend, queries: Floats, k: int, allowed: Flags | None, message: str) -> None:
    index = backend(np.eye(3, dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        index.search(queries.astype(np.float32), k, allowed=selected(allowed))


@pytest.mark.parametrize(
    ("query", "k"),
    [
        (np.ones(4), 1),
        (np.ones(3), 0),
        (np.full(3, np.nan), 1),
        (np.full(3, np.inf), 1),
    ],
    ids=["too wide", "k too small", "NaN", "infinity"],
)
@pytest.mark.parametrize("size", [1, 3])
def test_it_refuses_one_query_too(backend: Backend, size: int, query: Floats, k: int) -> None:
    with pytest.raises(ValueError, match=r"must (be|have)"):
        backend(np.eye(size, 3, dtype=np.float32)).nearest(query.astype(np.float32)[None], [k])


@pytest.mark.parametrize("k", [1, 10, 70])
@pytest.mark.parametrize("quantile", [0.05, 0.3, 0.9])
def test_one_query_finds_what_is_allowed_however_far(backend: Backend, k: int, quantile: float) -> None:
    vectors = unit(np.random.default_rng(9), 500, 8)
    index = backend(vectors)
    for query in vectors[:5] + np.float32(0.1):
        scores = vectors @ query
        for allowed in (scores <= np.quantile(scores, quantile), scores >= np.quantile(scores, quantile)):
            [(rows, found, _)] = index.nearest(query[None], [k], allowed=Selection(allowed))
            hits = index.search(query[None], k, allowed=Selection(allowed))
            assert (rows, found) == (hits.rows[0].tolist(), hits.scores[0].tolist())
            assert [rows] == brute_force(vectors, query[None], k, allowed)


def test_one_query_may_be_any_slice_of_an_array(backend: Backend) -> None:
    index = backend(np.eye(3, dtype=np.float32))
    query = np.array([3, 9, 1, 9, 2], dtype=np.float32)[::2]
    assert index.nearest(query[None], [3])[0].rows == [0, 2, 1]


@pytest.mark.parametrize("alone", [False, True])
def test_it_searches_on_one_thread_whichever_asks(backend: Backend, alone: bool) -> None:
    index, threads = backend(np.eye(3, dtype=np.float32)), []
    query = np.array([3, 2, 1], dtype=np.float32)

    def ask() -> None:
        if alone:
            index.nearest(query[None], [1])
        else:
            index.search(query[None], 1)
        threads.append(faiss.omp_get_max_threads())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert threads == [1]


def test_it_comes_back_from_bytes_as_it_was(backend: Backend) -> None:
    rng = np.random.default_rng(6)
    vectors, queries = unit(rng, 60, 5), unit(rng, 3, 5)
    index = backend(vectors)
    again = restore(index.kind, index.to_bytes(), dim=5, size=60)
    assert (again.kind, again.dim, again.size) == (index.kind, 5, 60)
    assert (again.exact.view == vectors).all()
    assert (again.search(queries, 7).scores == index.search(queries, 7).scores).all()
    assert again.to_bytes() == index.to_bytes()


@pytest.mark.parametrize(("dim", "size"), [(4, 60), (5, 59), (5, 61), (60, 5), (0, 0)])
def test_it_refuses_bytes_of_another_shape(backend: Backend, dim: int, size: int) -> None:
    contents = backend(unit(np.random.default_rng(7), 60, 5)).to_bytes()
    with pytest.raises(GenerationError, match="must have their header and length"):
        restore("flat", contents, dim=dim, size=size)


@given(at=st.integers(0, 44), byte=st.integers(0, 255))
def test_a_flat_index_refuses_a_changed_header(at: int, byte: int) -> None:
    contents = bytearray(FlatIndex.of(np.eye(3, dtype=np.float32)).to_bytes())
    same = contents[at] == byte
    contents[at] = byte
    if same:
        restore("flat", bytes(contents), dim=3, size=3)
    else:
        with pytest.raises(GenerationError):
            restore("flat", bytes(contents), dim=3, size=3)


@pytest.mark.parametrize("change", [lambda b: b"", lambda b: b[:-1], lambda b: b + b"\0", lambda b: b[:45]])
def test_a_flat_index_refuses_another_length(change: Callable[[bytes], bytes]) -> None:
    contents = FlatIndex.of(np.eye(3, dtype=np.float32)).to_bytes()
    with pytest.raises(GenerationError):
        restore("flat", change(contents), dim=3, size=3)


@pytest.mark.parametrize("other", [faiss.IndexFlatL2(3), faiss.IndexHNSWFlat(3, 8), faiss.IndexLSH(3, 8)])
def test_a_flat_index_refuses_an_index_of_another_type(other: faiss.Index) -> None:
    other.add(np.eye(3, dtype=np.float32))
    with pytest.raises(GenerationError):
        restore("flat", faiss.serialize_index(other).tobytes(), dim=3, size=3)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(GenerationError, match="one of flat, ivf, hnsw, got 'lsh'"):
        restore("lsh", b"", dim=3, size=3)


def unit(rng: np.random.Generator, size: int, dim: int) -> Floats:
    vectors = rng.normal(size=(size, dim))
    units: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return units


def scores_by_row(hits: Hits) -> Floats:
    scores = np.empty_like(hits.scores)
    np.put_along_axis(scores, hits.rows, hits.scores, axis=1)
    return scores
