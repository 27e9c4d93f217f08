from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.indexer import golden
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.golden import Space
from deepmoviematch.indexer.search.vectors import FlatIndex

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


def ways(angle: float = 0.0, vectors: Floats = VECTORS) -> dict[str, Space]:
    """Embeds every user as the first axis, turned by an angle."""

    def embed(users: UserBatch) -> Floats:
        assert users.items.tolist() == [2]
        assert users.stars.tolist() == [4.0]
        assert users.preferences.tolist() == [[5.0]]
        return np.array([[np.cos(angle), np.sin(angle)]], dtype=np.float32)

    return {"taste": Space(embed, FlatIndex.of(vectors))}


def recorded() -> dict[str, Any]:
    return golden.record(QUERIES, ways(), CATALOGUE)


def test_it_records_the_answers_best_first() -> None:
    answers = recorded()["taste"]
    assert answers["item_ids"] == [["a", "b", "c"]]
    assert answers["scores"] == [pytest.approx([1, 0.8, 0])]


def test_the_same_answers_pass() -> None:
    golden.replay(recorded(), ways(), CATALOGUE)


def test_scores_may_differ_by_rounding_only() -> None:
    golden.replay(recorded(), ways(5e-6), CATALOGUE)
    with pytest.raises(GenerationError, match=r"the scores they got at first, .* 5e-05 off"):
        golden.replay(recorded(), ways(5e-5), CATALOGUE)


def test_items_that_tie_may_change_places() -> None:
    turned = np.array([[0.8, -0.6], [0.8, 0.6], [0, 1]], dtype=np.float32)
    answers = golden.record(QUERIES, ways(1e-6, turned), CATALOGUE)
    assert answers["taste"]["item_ids"] == [["b", "a", "c"]]
    golden.replay(answers, ways(-1e-6, turned), CATALOGUE)


def test_items_that_do_not_tie_may_not() -> None:
    others = replace(CATALOGUE, item_ids=("b", "a", "c"))
    with pytest.raises(GenerationError, match=r"got 0\.2 off; tower and index are not of one run"):
        golden.replay(recorded(), ways(), others)


def test_one_item_may_not_stand_in_for_another() -> None:
    answers = recorded() | {"taste": {"item_ids": [["a", "a", "c"]], "scores": [[1.0, 1.0, 0.0]]}}
    with pytest.raises(GenerationError, match="a golden query's answers must be distinct"):
        golden.replay(answers, ways(), CATALOGUE)


def test_fewer_answers_do_not_pass() -> None:
    answers = recorded() | {"taste": {"item_ids": [["a"]], "scores": [[1.0]]}}
    with pytest.raises(
        GenerationError, match=r"must have \(1, 3\) answers, got scores \(1, 1\) and ids \(1, 1\)"
    ):
        golden.replay(answers, ways(), CATALOGUE)


def test_answers_of_the_first_format_had_no_name() -> None:
    answers = recorded()
    golden.replay({"queries": QUERIES} | answers["taste"], ways(), CATALOGUE)


def test_every_way_to_ask_is_asked_again() -> None:
    two = ways() | {"next": Space(ways()["taste"].embed, FlatIndex.of(VECTORS[:, ::-1]))}
    answers = golden.record(QUERIES, two, CATALOGUE)
    assert answers["next"]["item_ids"] == [["c", "b", "a"]]
    golden.replay(answers, two, CATALOGUE)
    with pytest.raises(GenerationError, match="not of one run"):
        golden.replay(answers | {"next": answers["taste"]}, two, CATALOGUE)


def test_sample_users_become_queries() -> None:
    reference = {"histories": [[[0, 5.0]]], "preferences": [[[0, 1.0]]], "scores": {}}
    assert golden.queries_from(reference) == [
        {"history": [[0, 5.0]], "preferences": []},
        {"history": [], "preferences": [[0, 1.0]]},
    ]


def test_a_reference_without_sample_users_is_refused() -> None:
    with pytest.raises(GenerationError, match="must hold at least one sample user, got none"):
        golden.queries_from({"histories": [], "preferences": []})
