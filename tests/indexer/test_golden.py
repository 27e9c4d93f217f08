from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deepmoviematch.data.features import UserBatch
from deepmoviematch.data.tables import Catalogue, Floats
from deepmoviematch.indexer import golden
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.vectors import FlatIndex

# Three items at 0, 36.9 and 90 degrees, and one user at 0.
VECTORS = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
CATALOGUE = Catalogue(
    item_ids=("a", "b", "c"),
    titles=("A", "B", "C"),
    years=np.zeros(3, dtype=np.int32),
    genre_names=("X",),
    genres=np.zeros((3, 1), dtype=np.bool_),
)
QUERIES = [{"history": [[2, 4.0]], "preferences": [[0, 5.0]]}]


class East:
    """Embeds every user as the first axis, turned by an angle."""

    dim = 2

    def __init__(self, angle: float = 0.0) -> None:
        self.vector = np.array([[np.cos(angle), np.sin(angle)]], dtype=np.float32)

    def embed(self, users: UserBatch) -> Floats:
        assert users.items.tolist() == [2]
        assert users.stars.tolist() == [4.0]
        assert users.preferences.tolist() == [[5.0]]
        return self.vector

    def embed_one(self, preferences: Mapping[int, float], history: Mapping[int, float]) -> Floats:
        raise NotImplementedError


def recorded() -> dict[str, Any]:
    return golden.record(QUERIES, East(), FlatIndex.of(VECTORS), CATALOGUE)


def test_it_records_the_answers_best_first() -> None:
    answers = recorded()
    assert answers["item_ids"] == [["a", "b", "c"]]
    assert answers["scores"] == [pytest.approx([1, 0.8, 0])]


def test_the_same_answers_pass() -> None:
    golden.replay(recorded(), East(), FlatIndex.of(VECTORS), CATALOGUE)


def test_scores_may_differ_by_rounding_only() -> None:
    golden.replay(recorded(), East(5e-6), FlatIndex.of(VECTORS), CATALOGUE)
    with pytest.raises(GenerationError, match=r"the scores they got at first, .* 5e-05 off"):
        golden.replay(recorded(), East(5e-5), FlatIndex.of(VECTORS), CATALOGUE)


def test_items_that_tie_may_change_places() -> None:
    turned = np.array([[0.8, -0.6], [0.8, 0.6], [0, 1]], dtype=np.float32)
    answers = golden.record(QUERIES, East(1e-6), FlatIndex.of(turned), CATALOGUE)
    assert answers["item_ids"] == [["b", "a", "c"]]
    golden.replay(answers, East(-1e-6), FlatIndex.of(turned), CATALOGUE)


def test_items_that_do_not_tie_may_not() -> None:
    others = replace(CATALOGUE, item_ids=("b", "a", "c"))
    with pytest.raises(GenerationError, match=r"got 0\.2 off; tower and index are not of one run"):
        golden.replay(recorded(), East(), FlatIndex.of(VECTORS), others)


def test_one_item_may_not_stand_in_for_another() -> None:
    answers = recorded() | {"item_ids": [["a", "a", "c"]], "scores": [[1.0, 1.0, 0.0]]}
    with pytest.raises(GenerationError, match="a golden query's answers must be distinct"):
        golden.replay(answers, East(), FlatIndex.of(VECTORS), CATALOGUE)


def test_fewer_answers_do_not_pass() -> None:
    answers = recorded() | {"item_ids": [["a"]], "scores": [[1.0]]}
    with pytest.raises(
        GenerationError, match=r"must have \(1, 3\) answers, got scores \(1, 1\) and ids \(1, 1\)"
    ):
        golden.replay(answers, East(), FlatIndex.of(VECTORS), CATALOGUE)


def test_sample_users_become_queries() -> None:
    reference = {"histories": [[[0, 5.0]]], "preferences": [[[0, 1.0]]], "scores": {}}
    assert golden.queries_from(reference) == [
        {"history": [[0, 5.0]], "preferences": []},
        {"history": [], "preferences": [[0, 1.0]]},
    ]


def test_a_reference_without_sample_users_is_refused() -> None:
    with pytest.raises(GenerationError, match="must hold at least one sample user, got none"):
        golden.queries_from({"histories": [], "preferences": []})
