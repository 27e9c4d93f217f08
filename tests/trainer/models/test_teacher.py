"""The teacher beside ridge regression, item by item, and the start that it gives the towers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from deepmoviematch.data.arrays import Floats
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.models import teacher as teachers
from deepmoviematch.trainer.models.teacher import (
    DenseTeacher,
    FactoredTeacher,
    Known,
    Teacher,
    balanced_weights,
    start,
    teacher_of,
)
from deepmoviematch.trainer.recipe import RetrievalRecipe

ITEMS = 9
RECIPE = RetrievalRecipe(name="tiny", ease_penalty=2.0, rated_weight=0.5, interest=0.25)


def some_ratings(users: int = 40) -> Known:
    """Two items of five are liked, and half of the others rated; nobody rated the last item."""
    draw = np.random.default_rng(2).random((users, ITEMS))
    draw[:, -1] = 1
    return Known(
        *(sparse.csr_matrix(each.astype(np.float32)) for each in (draw < 0.4, abs(draw - 0.55) < 0.15))
    )


def weights(teacher: Teacher) -> Floats:
    """[2, N, N] what likes and what other ratings say of each item."""
    found = teacher.times(np.eye(ITEMS, dtype=np.float32))
    return np.stack([*found, np.zeros_like(found[0])][:2])


@pytest.mark.parametrize("signal", [1, 0.4, 0])
@pytest.mark.parametrize("users", [40, 8], ids=["more users than columns", "fewer"])
def test_it_is_ridge_regression_of_each_item_on_what_was_liked_and_what_was_rated(
    users: int, signal: float
) -> None:
    known = some_ratings(users)
    likes, others = (each.toarray() for each in known)
    counts = likes.sum(axis=1)
    by_user = np.maximum(counts, 1) ** -0.5 / np.mean(np.maximum(counts, 1)[counts > 0] ** -0.5)
    read = np.hstack([likes, signal * 0.5 * (likes + others)])
    by_likes, by_others = weights(teacher_of(known, RECIPE, signal))
    for item in range(ITEMS):
        rest = np.delete(np.arange(2 * ITEMS), [item, ITEMS + item])
        columns = read[:, rest]
        gram = columns.T @ (by_user[:, None] * columns) + 2.0 * np.eye(len(rest))
        wanted = by_user * (likes + signal * 0.25 * others)[:, item]
        found = np.zeros(2 * ITEMS)
        found[rest] = np.linalg.solve(gram, columns.T @ wanted)
        assert by_likes[:, item] == pytest.approx(found[:ITEMS] + signal * 0.5 * found[ITEMS:], abs=1e-4)
        assert by_others[:, item] == pytest.approx(signal * 0.5 * found[ITEMS:], abs=1e-4)
        assert by_likes[item, item] == by_others[item, item] == 0


def test_a_penalty_that_cannot_tell_likes_from_ratings_is_refused() -> None:
    likes = sparse.csr_matrix((np.random.default_rng(3).random((5000, 4)) < 0.5).astype(np.float32))
    nothing = sparse.csr_matrix(likes.shape, dtype=np.float32)
    with pytest.raises(TrainingError, match=r"ease_penalty must be neither too small .* got 1e-06; try 100"):
        teacher_of(Known(likes, nothing), replace(RECIPE, ease_penalty=1e-6), 1.0)


def test_balanced_weights_are_one_on_average_over_those_who_like_anything() -> None:
    likes = sparse.csr_matrix(np.array([[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=np.float32))
    assert balanced_weights(likes)[:2] == pytest.approx([4 / 3, 2 / 3])


def test_an_item_that_nobody_rated_scores_nothing() -> None:
    known = some_ratings()
    scores = teacher_of(known, RECIPE, 1.0).score(known, np.arange(ITEMS, dtype=np.int32))
    assert not scores[:, -1].any()
    assert scores[:, :-1].any(axis=0).all()


@pytest.mark.parametrize("signal", [1, 0])
def test_with_all_directions_the_low_rank_teacher_is_the_exact_one(
    monkeypatch: pytest.MonkeyPatch, signal: float
) -> None:
    exact = weights(teacher_of(some_ratings(), RECIPE, signal))
    monkeypatch.setattr(teachers, "LARGEST", 7)
    assert weights(teacher_of(some_ratings(), RECIPE, signal)) == pytest.approx(exact, abs=1e-3)


def test_it_is_exact_where_either_users_or_columns_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "LARGEST", 9)
    monkeypatch.setattr(teachers, "LowRankInverse", None)
    teacher_of(some_ratings(8), RECIPE, 1.0)
    with pytest.raises(AttributeError):  # it would take the one that there is not
        teacher_of(some_ratings(40), RECIPE, 1.0)


@pytest.mark.parametrize(
    ("users", "rated", "exact"),
    [(10_000, 20_000, True), (10_001, 20_000, False), (10_000, 20_001, False), (3_000, 62_423, True)],
)
def test_it_is_exact_as_long_as_its_factors_find_room(users: int, rated: int, exact: bool) -> None:
    assert teachers.is_exact(users, 2 * rated, rated) is exact


def test_factors_say_what_they_make_when_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = teacher_of(some_ratings(), RECIPE, 1.0)
    monkeypatch.setattr(teachers, "WIDEST", 0)
    factored = teacher_of(some_ratings(), RECIPE, 1.0)
    assert isinstance(dense, DenseTeacher)
    assert isinstance(factored, FactoredTeacher)
    assert weights(factored) == pytest.approx(weights(dense), abs=1e-4)
    likes, others = weights(dense)
    first, second = np.random.default_rng(3).normal(size=(2, ITEMS, 4)).astype(np.float32)
    for teacher in (dense, factored):
        found = teacher.transposed_times(first, second)
        assert found == pytest.approx(likes.T @ first + others.T @ second, abs=1e-3)
    asked = np.array([1, 4, 8], dtype=np.int32)
    told = Known(*(sparse.csr_matrix(np.eye(ITEMS, dtype=np.float32)[[row]]) for row in (0, 2)))
    assert factored.score(told, asked) == pytest.approx(dense.score(told, asked), abs=1e-4)


@pytest.mark.parametrize(
    ("widest", "scores"), [(3, 360), (3, 359), (0, 360)], ids=["dense", "scores not laid out", "factors"]
)
def test_at_full_width_the_start_rebuilds_the_teacher(
    monkeypatch: pytest.MonkeyPatch, widest: int, scores: int
) -> None:
    monkeypatch.setattr(teachers, "WIDEST", widest)
    monkeypatch.setattr(teachers, "MOST_SCORES", scores)
    teacher = teacher_of(some_ratings(), RECIPE, 1.0)
    factors, *tables = start(teacher, some_ratings(), ITEMS, np.random.default_rng(1))
    assert np.stack(tables) @ factors.T == pytest.approx(weights(teacher), abs=1e-4)


def test_where_nobody_rated_two_items_the_start_is_popularity() -> None:
    likes = sparse.csr_matrix(np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=np.float32))
    known = Known(likes, sparse.csr_matrix(likes.shape, dtype=np.float32))
    factors, *tables = start(teacher_of(known, RECIPE, 1.0), known, 2, np.random.default_rng(1))
    assert factors[:, 0] == pytest.approx(np.array([2, 1, 0]) / np.sqrt(5))
    assert not np.stack(tables).any()
    assert not factors[:, 1].any()
