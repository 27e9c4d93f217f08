"""Many queries at once get, bit for bit, what each gets alone."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from deepmoviematch.data.arrays import Flags, Floats
from deepmoviematch.indexer.search import batch
from deepmoviematch.indexer.search.batch import nearest_without
from deepmoviematch.indexer.search.hnsw import HnswIndex
from deepmoviematch.indexer.search.ivf import IvfIndex
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.indexer.search.vectors import FlatIndex
from tests.indexer.selections import selected

LISTS = IvfIndex.of(np.random.default_rng(7).normal(size=(3000, 4)).astype(np.float32))
ANY = st.floats(-2, 2, width=32)
WHOLE = st.integers(-2, 2).map(float)  # many ties


def assert_as_alone(
    vectors: Floats,
    queries: Floats,
    limits: Sequence[int],
    out: list[set[int]],
    allowed: Flags | None = None,
) -> None:
    index = FlatIndex.of(vectors)
    together = nearest_without(index, queries, limits, out, selected(allowed))
    for place, (query, limit, rows) in enumerate(zip(queries, limits, out, strict=True)):
        running = np.ones(len(vectors), dtype=np.bool_) if allowed is None else allowed.copy()
        running[list(rows)] = False
        alone = index.search(query[None], limit, allowed=Selection(running))
        assert together[place] == (alone.rows[0].tolist(), alone.scores[0].tolist(), True)


@pytest.fixture(params=[True, False], ids=["by a matrix product", "by FAISS"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask few questions about few vectors either way."""
    monkeypatch.setattr(batch, "MANY", 1 if request.param else 1 << 30)
    monkeypatch.setattr(batch, "MANY_SCORES", 0)


@pytest.mark.usefixtures("_way")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # which nothing changes
@given(data=st.data())
def test_it_answers_each_query_as_if_it_were_alone(data: st.DataObject) -> None:
    size, dim, count = (data.draw(st.integers(1, top)) for top in (80, 9, 6))
    elements = data.draw(st.sampled_from([ANY, WHOLE]))
    vectors = data.draw(arrays.arrays(np.float32, (size, dim), elements=elements))
    queries = data.draw(arrays.arrays(np.float32, (count, dim), elements=elements))
    limits = data.draw(st.lists(st.integers(1, size + 3), min_size=count, max_size=count))
    excluded = data.draw(
        st.lists(st.sets(st.integers(0, size - 1), max_size=size), min_size=count, max_size=count)
    )
    allowed = data.draw(st.none() | arrays.arrays(np.bool_, size))
    assert_as_alone(vectors, queries, limits, excluded, allowed)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("dim", [1, 7, 8, 33, 65])
@pytest.mark.parametrize("twins", [1, 700, 2003])
def test_it_is_exact_where_a_matrix_product_rounds_otherwise(dim: int, twins: int) -> None:
    rng = np.random.default_rng(dim)
    vectors = rng.normal(size=(2003, dim)).astype(np.float32)
    vectors[rng.permutation(2003)[:twins]] = vectors[0]
    vectors[::5] *= np.float32(1 + 1e-7)  # a last bit apart
    queries = rng.normal(size=(70, dim)).astype(np.float32)
    queries[3] = vectors[0]
    excluded = [set(rng.integers(2003, size=rng.integers(60)).tolist()) for _ in queries]
    assert_as_alone(vectors, queries, [10] * 60 + [1, 2, 100, 300, 900, 2000, 2003, 5000, 7, 7], excluded)


def test_it_takes_as_many_queries_at_once_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "CELLS", 700)
    rng = np.random.default_rng(4)
    vectors, queries = (rng.normal(size=(size, 5)).astype(np.float32) for size in (300, 11))
    assert_as_alone(vectors, queries, range(1, 12), [set(range(place)) for place in range(11)])


def test_the_best_items_may_be_neighbours_in_the_catalogue() -> None:
    vectors = np.linspace(0, 1, 5000, dtype=np.float32)[:, None]
    assert_as_alone(vectors, np.array([[1], [-1]], dtype=np.float32), [40, 40], [{4999, 4990}, {0}])


def test_nobody_asks_and_nobody_is_answered() -> None:
    index = FlatIndex.of(np.eye(3, dtype=np.float32))
    assert nearest_without(index, np.empty((0, 3), np.float32), [], []) == []


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(
    ("query", "limit", "message"),
    [([1, np.nan, 1], 1, "finite"), ([1, 1], 1, "shape"), ([1, 1, 1], 0, "must be at least 1")],
    ids=["NaN", "too narrow", "nothing wanted"],
)
def test_it_refuses_what_a_search_refuses(query: list[float], limit: int, message: str) -> None:
    index = FlatIndex.of(np.eye(3, dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        nearest_without(index, np.array([query], dtype=np.float32), [limit], [{0}])


@given(data=st.data())
def test_an_index_that_looks_at_a_part_answers_each_as_if_it_were_alone(data: st.DataObject) -> None:
    rng = np.random.default_rng(6)
    index, queries = LISTS, rng.normal(size=(5, 4)).astype(np.float32)
    counts = data.draw(st.lists(st.integers(1, 40), min_size=5, max_size=5))
    out = [frozenset(rng.integers(3000, size=size).tolist()) for size in counts]
    allowed = Selection(rng.random(3000) < 0.5) if data.draw(st.booleans()) else None
    together = nearest_without(index, queries, counts, out, allowed)
    for place, found in enumerate(together):
        each = slice(place, place + 1)
        assert [found] == nearest_without(index, queries[each], counts[each], out[each], allowed)
        assert len(found.rows) == counts[place]
        assert out[place].isdisjoint(found.rows)


def test_every_index_offers_exact_search_of_its_vectors() -> None:
    vectors = np.random.default_rng(5).normal(size=(50, 4)).astype(np.float32)
    for index in (FlatIndex.of(vectors), HnswIndex.of(vectors)):
        assert (index.exact.view == vectors).all()
        assert index.exact.longest == pytest.approx(np.linalg.norm(vectors, axis=1).max())
