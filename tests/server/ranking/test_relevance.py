"""Pages are parts of one order, whatever their sizes and whatever the index."""

from collections.abc import Iterable
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays

from deepmoviematch.data.arrays import Flags, Floats
from deepmoviematch.indexer.search.hnsw import HnswIndex
from deepmoviematch.indexer.search.vectors import FlatIndex, VectorIndex
from deepmoviematch.server.ranking.relevance import Nearest, Popular, Relevance, Scored, page_of
from tests.indexer.selections import selected

ITEMS, WIDTH = 60, 4

RNG = np.random.default_rng(3)
VECTORS = RNG.normal(size=(ITEMS, WIDTH)).astype(np.float32)
VECTORS[40:50] = VECTORS[7]  # all of which tie
POPULARITY = (RNG.integers(0, 9, ITEMS) / 10).astype(np.float32)
POPULAR = np.argsort(-POPULARITY, kind="stable")

excluded = st.frozensets(st.integers(0, ITEMS - 1), max_size=ITEMS)
allowances = st.none() | arrays.arrays(np.bool_, ITEMS)
sizes = st.lists(st.integers(1, 25), min_size=1, max_size=8)
queries = arrays.arrays(np.float32, WIDTH, elements=st.floats(-1, 1, width=16))


def in_the_running(excluded: frozenset[int], allowed: Flags | None) -> list[int]:
    return [row for row in range(ITEMS) if row not in excluded and (allowed is None or allowed[row])]


def walk(relevance: Relevance, sizes: list[int]) -> Iterable[Scored]:
    """Page after page, the sizes in turn, the way that tokens go on."""
    start = ahead = place = 0
    while start < relevance.left:
        stop = start + sizes[place % len(sizes)]
        page = page_of(relevance, start, stop, ahead)
        yield page
        ahead = ahead if page.exact else len(page.rows)
        start, place = start + len(page.rows), place + 1


def joined(pages: Iterable[Scored]) -> tuple[list[int], list[float]]:
    pages = list(pages)
    return [row for page in pages for row in page.rows], [score for page in pages for score in page.scores]


@given(query=queries, excluded=excluded, allowed=allowances, sizes=sizes)
def test_all_pages_of_a_search_are_the_one_exact_order(
    query: Floats, excluded: frozenset[int], allowed: Flags | None, sizes: list[int]
) -> None:
    relevance = Nearest(FlatIndex.of(VECTORS), query, excluded, selected(allowed))
    rows, scores = joined(walk(relevance, sizes))
    everything = FlatIndex.of(VECTORS).search(query[None], ITEMS)
    score_of = dict(zip(everything.rows[0].tolist(), everything.scores[0].tolist(), strict=True))
    expected = sorted(in_the_running(excluded, allowed), key=lambda row: (-score_of[row], row))
    assert rows == expected
    assert scores == [score_of[row] for row in expected]
    assert scores == pytest.approx((VECTORS @ query)[rows], abs=1e-5)
    assert relevance.left == len(expected)


@given(excluded=excluded, allowed=allowances, sizes=sizes)
def test_all_pages_of_the_popular_items_are_their_one_order(
    excluded: frozenset[int], allowed: Flags | None, sizes: list[int]
) -> None:
    relevance = Popular(POPULAR, POPULARITY, excluded, selected(allowed))
    rows, scores = joined(walk(relevance, sizes))
    expected = sorted(in_the_running(excluded, allowed), key=lambda row: (-POPULARITY[row], row))
    assert rows == expected
    assert scores == POPULARITY[expected].tolist()


class Forgetful:
    """A graph that misses every third item, and says that it compared not all of them."""

    def __init__(self, relevance: Relevance) -> None:
        self.relevance, self.left = relevance, relevance.left

    def best(self, count: int) -> Scored:
        rows, scores, _ = self.relevance.exactly(self.left)
        known = [place for place, row in enumerate(rows) if row % 3][:count]
        return Scored([rows[place] for place in known], [scores[place] for place in known], exact=False)

    def exactly(self, count: int) -> Scored:
        return self.relevance.exactly(count)

    def compares_all(self, count: int) -> bool:
        return False


@given(query=queries, excluded=excluded, sizes=sizes)
def test_whatever_a_graph_missed_comes_next(
    query: Floats, excluded: frozenset[int], sizes: list[int]
) -> None:
    plain = Nearest(FlatIndex.of(VECTORS), query, excluded, None)
    relevance = Forgetful(plain)
    first = relevance.best(sizes[0])
    if not first.rows:
        return
    pages = list(walk(relevance, sizes))
    rows, _ = joined(pages)
    rest = [row for row in plain.exactly(ITEMS).rows if row not in first.rows]
    assert rows == first.rows + rest
    assert [page.exact for page in pages] == [False] + [True] * (len(pages) - 1)


@given(query=queries, excluded=excluded, allowed=allowances, sizes=sizes)
def test_a_graph_is_followed_for_the_first_page_alone(
    query: Floats, excluded: frozenset[int], allowed: Flags | None, sizes: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepmoviematch.indexer.search.approximate.COMPARED_UP_TO", 1)
        patch.setattr("deepmoviematch.indexer.search.approximate.FILTERED_UP_TO", 1)
        patch.setattr("deepmoviematch.indexer.search.hnsw.COMPARED", 0)
        relevance = Nearest(HnswIndex.of(VECTORS), query, excluded, selected(allowed))
        pages = list(walk(relevance, sizes))
    rows, _ = joined(pages)
    assert sorted(rows) == in_the_running(excluded, allowed)
    assert all(page.exact for page in pages[1:])


@pytest.mark.parametrize("index", [FlatIndex.of(VECTORS), HnswIndex.of(VECTORS)], ids=["flat", "hnsw"])
@given(query=queries, allowed=allowances)
def test_exact_hits_for_fewer_are_the_first_of_those_for_more(
    index: VectorIndex, query: Floats, allowed: Flags | None
) -> None:
    everything = index.exact.search(query[None], ITEMS, allowed=selected(allowed))
    for count in (1, 2, 10, 59):
        hits = index.exact.search(query[None], count, allowed=selected(allowed))
        assert hits.exact
        assert np.array_equal(hits.rows, everything.rows[:, :count])
        assert np.array_equal(hits.scores, everything.scores[:, :count])


def test_page_sizes_may_change_on_the_way() -> None:
    relevance = Popular(POPULAR, POPULARITY, frozenset(), None)
    stops = list(accumulate([1, 5, 2, 30, 22]))
    pages = [page_of(relevance, start, stop, 0) for start, stop in pairwise([0, *stops])]
    assert joined(pages)[0] == POPULAR.tolist()
