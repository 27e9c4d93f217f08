"""What only a graph of neighbours does; `test_vectors` holds it to what every index does."""

import resource
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pytest

from deepmoviematch.data.tables import Flags, Floats
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.hnsw import EXACT_UP_TO, HnswIndex
from deepmoviematch.indexer.search.kinds import index_of, restore
from deepmoviematch.indexer.search.vectors import FlatIndex

SIZE, DIM = 6000, 16


def clustered(size: int, *, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(60, DIM))[rng.integers(60, size=size)] + rng.normal(size=(size, DIM))
    units: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return units


VECTORS, QUERIES = clustered(SIZE, seed=0), clustered(50, seed=1)


@pytest.fixture(scope="module")
def index() -> HnswIndex:
    return HnswIndex.of(VECTORS)


def share_found(index: HnswIndex, allowed: Flags | None = None) -> float:
    found = index.search(QUERIES, 10, allowed=allowed)
    best = FlatIndex.of(VECTORS).search(QUERIES, 10, allowed=allowed)
    return float((found.scores >= best.scores[:, -1:] - 1e-6).mean())


def test_it_finds_nearly_all_and_says_that_it_may_not_have(index: HnswIndex) -> None:
    assert not index.search(QUERIES, 10).exact
    assert share_found(index) > 0.97
    rows, scores, exact = index.nearest(QUERIES[0], 10)
    assert not exact
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx((VECTORS[rows] @ QUERIES[0]).tolist(), abs=1e-6)


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_a_filter_that_lets_many_pass_is_followed_through_the_graph(index: HnswIndex, share: float) -> None:
    allowed = np.random.default_rng(2).random(SIZE) < share
    hits = index.search(QUERIES, 10, allowed=allowed)
    assert not hits.exact
    assert allowed[hits.rows].all()
    assert share_found(index, allowed) > 0.97


def test_a_filter_that_lets_few_pass_is_answered_exactly(index: HnswIndex) -> None:
    allowed = np.random.default_rng(3).random(SIZE) < EXACT_UP_TO / SIZE / 2
    hits = index.search(QUERIES, 10, allowed=allowed)
    assert hits.exact
    assert (hits.rows == FlatIndex.of(VECTORS).search(QUERIES, 10, allowed=allowed).rows).all()


def test_a_filter_that_lets_pass_what_is_far_from_the_query_loses_nothing(index: HnswIndex) -> None:
    flat = FlatIndex.of(VECTORS)
    for query in QUERIES[:10]:
        scores = VECTORS @ query
        allowed = scores < np.quantile(scores, 0.6)  # the graph leads to the others first
        hits = index.search(query[None], 10, allowed=allowed)
        assert (hits.rows == flat.search(query[None], 10, allowed=allowed).rows).all()


def test_very_many_results_are_answered_exactly(index: HnswIndex) -> None:
    assert index.search(QUERIES[:1], SIZE).exact


def test_ties_are_broken_exactly(index: HnswIndex) -> None:
    vectors = VECTORS.copy()
    vectors[100:130] = vectors[7]
    hits = HnswIndex.of(vectors).search(vectors[7:8], 5)
    assert hits.rows.tolist() == [[7, 100, 101, 102, 103]]
    assert hits.exact


def test_equal_vectors_make_equal_files() -> None:
    assert HnswIndex.of(VECTORS).to_bytes() == HnswIndex.of(VECTORS).to_bytes()


def test_it_comes_back_from_a_mapped_file() -> None:
    made = HnswIndex.of(VECTORS)
    contents = np.frombuffer(made.to_bytes(), dtype=np.uint8)
    again = restore("hnsw", contents, dim=DIM, size=SIZE)
    assert (again.vectors() == VECTORS).all()
    assert (again.search(QUERIES, 10).rows == made.search(QUERIES, 10).rows).all()


def test_the_search_is_broadened_until_enough_is_found() -> None:
    asked: list[int] = []

    def recall(index: object) -> float:
        assert isinstance(index, HnswIndex)
        asked.append(index.breadth)
        return 1.0 if index.breadth >= 256 else 0.5

    index = index_of(VECTORS, "hnsw", recall)
    assert asked == [64, 128, 256]
    again = restore("hnsw", index.to_bytes(), dim=DIM, size=SIZE)
    assert isinstance(again, HnswIndex)
    assert again.breadth == 256


@pytest.mark.parametrize(("choice", "kind"), [("auto", "flat"), ("exact", "flat"), ("hnsw", "hnsw")])
def test_the_kind_may_be_chosen(choice: str, kind: str) -> None:
    assert index_of(VECTORS[:100], choice, lambda _: 1.0).kind == kind


def test_a_large_catalogue_gets_a_graph_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepmoviematch.indexer.search.kinds.EXACT_UP_TO", 100)
    assert index_of(VECTORS[:100], "auto", lambda _: 1.0).kind == "flat"
    assert index_of(VECTORS[:101], "auto", lambda _: 1.0).kind == "hnsw"


def level(graph: Any) -> None:
    graph.levels.push_back(1)


def entry(graph: Any) -> None:
    graph.entry_point = SIZE


def breadth(graph: Any) -> None:
    graph.efSearch = 1 << 30


def offset(graph: Any) -> None:
    offsets = faiss.vector_to_array(graph.offsets)
    offsets[5] += 1
    faiss.copy_array_to_vector(offsets, graph.offsets)


@pytest.mark.parametrize("damage", [level, entry, breadth, offset])
def test_a_graph_that_leads_elsewhere_is_refused(damage: Callable[[Any], None]) -> None:
    made: Any = faiss.deserialize_index(np.frombuffer(HnswIndex.of(VECTORS).to_bytes(), dtype=np.uint8))
    damage(made.hnsw)
    with pytest.raises(GenerationError):
        restore("hnsw", faiss.serialize_index(made).tobytes(), dim=DIM, size=SIZE)


def test_a_link_to_no_vector_is_refused() -> None:
    contents = bytearray(HnswIndex.of(VECTORS).to_bytes())
    made: Any = faiss.deserialize_index(np.frombuffer(bytes(contents), dtype=np.uint8))
    first = faiss.vector_to_array(made.hnsw.neighbors)[:8].tobytes()
    at = contents.index(first)
    contents[at : at + 4] = SIZE.to_bytes(4, "little")
    with pytest.raises(GenerationError, match="must be whole"):
        restore("hnsw", bytes(contents), dim=DIM, size=SIZE)


@pytest.mark.parametrize("length", [0, 4, 100, 10_000, -1])
def test_a_file_that_is_cut_is_refused(length: int) -> None:
    contents = HnswIndex.of(VECTORS).to_bytes()[:length]
    with pytest.raises(GenerationError):
        restore("hnsw", contents, dim=DIM, size=SIZE)


def test_a_file_that_claims_more_than_it_has_is_refused_without_the_memory(index: HnswIndex) -> None:
    contents = bytearray(index.to_bytes())
    first = 37  # after the letters, d, ntotal, two numbers of no use, a flag and the metric
    assert int.from_bytes(contents[first : first + 8], "little") < 10  # how many levels there are
    contents[first : first + 8] = (1 << 28).to_bytes(8, "little")  # of 8 bytes each: 2 GiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(GenerationError, match="must be whole"):
        restore("hnsw", bytes(contents), dim=DIM, size=SIZE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB
