"""What every approximate index does besides; `test_vectors` holds it to what every index does."""

from typing import TypeAlias

import numpy as np
import pytest

from deepmoviematch.data.arrays import Flags, Floats
from deepmoviematch.indexer.search.approximate import COMPARED_UP_TO, ApproximateIndex
from deepmoviematch.indexer.search.hnsw import HnswIndex
from deepmoviematch.indexer.search.ivf import IvfIndex
from deepmoviematch.indexer.search.kinds import CHOICES, index_of, restore
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.indexer.search.vectors import FlatIndex, VectorIndex
from tests.indexer.selections import selected

Kind: TypeAlias = type[HnswIndex] | type[IvfIndex]

SIZE, DIM = 6000, 16


def clustered(size: int, *, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(60, DIM))[rng.integers(60, size=size)] + rng.normal(size=(size, DIM))
    units: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return units


VECTORS, QUERIES = clustered(SIZE, seed=0), clustered(50, seed=1)


@pytest.fixture(scope="module", params=[IvfIndex, HnswIndex])
def kind(request: pytest.FixtureRequest) -> Kind:
    made: Kind = request.param
    return made


@pytest.fixture(scope="module")
def index(kind: Kind) -> ApproximateIndex:
    """Broad enough for these vectors, which are less alike than real ones."""
    made = index_of(VECTORS, kind.kind, share_found)
    assert isinstance(made, kind)
    return made


def share_found(index: VectorIndex, allowed: Flags | None = None) -> float:
    found = index.search(QUERIES, 10, allowed=selected(allowed))
    best = FlatIndex.of(VECTORS).search(QUERIES, 10, allowed=selected(allowed))
    return float((found.scores >= best.scores[:, -1:] - 1e-6).mean())


def test_it_finds_nearly_all_and_says_that_it_may_not_have(index: ApproximateIndex) -> None:
    assert not index.search(QUERIES, 10).exact
    assert share_found(index) > 0.97
    [(rows, scores, exact)] = index.nearest(QUERIES[:1], [10])
    assert not exact
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx((VECTORS[rows] @ QUERIES[0]).tolist(), abs=1e-6)


@pytest.mark.parametrize("share", [0.9, 0.7])
def test_a_filter_that_lets_many_pass_is_followed(
    index: ApproximateIndex, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepmoviematch.indexer.search.approximate.FILTERED_UP_TO", SIZE - 1)
    allowed = np.random.default_rng(2).random(SIZE) < share
    hits = index.search(QUERIES, 10, allowed=Selection(allowed))
    assert not hits.exact
    assert allowed[hits.rows].all()
    assert share_found(index, allowed) > 0.97


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.75, 1.0])
def test_in_a_small_catalogue_every_backend_finds_the_same_by_a_filter(
    index: ApproximateIndex, share: float
) -> None:
    allowed = np.random.default_rng(4).random(SIZE) < share
    both = index, FlatIndex.of(VECTORS)
    hits, exact = (each.search(QUERIES, 10, allowed=Selection(allowed)) for each in both)
    assert hits.exact
    assert (hits.rows == exact.rows).all()
    assert (hits.scores == exact.scores).all()


@pytest.mark.parametrize("passing", [1, COMPARED_UP_TO // 2, COMPARED_UP_TO])
def test_a_filter_that_lets_few_pass_is_answered_exactly(
    index: ApproximateIndex, passing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepmoviematch.indexer.search.approximate.FILTERED_UP_TO", SIZE - 1)
    allowed = np.random.default_rng(3).permutation(SIZE) < passing
    hits = index.search(QUERIES, 10, allowed=Selection(allowed))
    assert hits.exact
    assert (hits.rows == FlatIndex.of(VECTORS).search(QUERIES, 10, allowed=Selection(allowed)).rows).all()


@pytest.mark.parametrize("share", [0.99, 0.9, 0.6])
def test_a_filter_that_lets_pass_what_is_far_from_the_query_loses_nothing(
    index: ApproximateIndex, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepmoviematch.indexer.search.approximate.FILTERED_UP_TO", SIZE - 1)
    flat = FlatIndex.of(VECTORS)
    for query in QUERIES[:10]:
        scores = VECTORS @ query
        allowed = Selection(scores < np.quantile(scores, share))  # graph and lists lead to the others first
        hits = index.search(query[None], 10, allowed=allowed)
        assert (hits.rows == flat.search(query[None], 10, allowed=allowed).rows).all()


def test_very_many_results_are_answered_exactly(index: ApproximateIndex) -> None:
    assert index.search(QUERIES[:1], SIZE).exact


def test_ties_are_broken_exactly(kind: Kind) -> None:
    vectors = VECTORS.copy()
    vectors[100:130] = vectors[7]
    hits = kind.of(vectors).search(vectors[7:8], 5)
    assert hits.rows.tolist() == [[7, 100, 101, 102, 103]]
    assert hits.exact


def test_equal_vectors_make_equal_files(kind: Kind) -> None:
    assert kind.of(VECTORS).to_bytes() == kind.of(VECTORS).to_bytes()


def test_it_comes_back_from_a_mapped_file(kind: Kind) -> None:
    made = kind.of(VECTORS)
    contents = np.frombuffer(made.to_bytes(), dtype=np.uint8)
    again = restore(kind.kind, contents, dim=DIM, size=SIZE)
    assert (again.exact.view == VECTORS).all()
    assert (again.search(QUERIES, 10).rows == made.search(QUERIES, 10).rows).all()


def test_a_search_is_a_step_broader_than_it_takes_to_find_enough(kind: Kind) -> None:
    asked: list[int] = []

    def recall(index: object) -> float:
        assert isinstance(index, ApproximateIndex)
        asked.append(index.breadth)
        return 1.0 if len(asked) == 3 else 0.5

    index = index_of(VECTORS, kind.kind, recall)
    steps = {IvfIndex: [6, 7, 8, 9], HnswIndex: [64, 128, 256, 512]}[kind]
    assert asked == steps[:3]
    again = restore(kind.kind, index.to_bytes(), dim=DIM, size=SIZE)
    assert isinstance(again, kind)
    assert again.breadth == steps[3]


@pytest.mark.parametrize("choice", CHOICES)
def test_the_kind_may_be_chosen(choice: str) -> None:
    kind = index_of(VECTORS[:100], choice, lambda _: 1.0).kind
    assert kind == {"auto": "flat", "exact": "flat"}.get(choice, choice)


def test_a_large_catalogue_gets_lists_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepmoviematch.indexer.search.kinds.EXACT_UP_TO", 100)
    assert index_of(VECTORS[:100], "auto", lambda _: 1.0).kind == "flat"
    assert index_of(VECTORS[:101], "auto", lambda _: 1.0).kind == "ivf"
