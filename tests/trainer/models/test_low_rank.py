import numpy as np
import pytest
from scipy import sparse

from deepmoviematch.data.tables import Floats
from deepmoviematch.trainer.models import low_rank, teacher as teachers
from deepmoviematch.trainer.models.low_rank import LowRankInverse, leading
from deepmoviematch.trainer.models.teacher import ExactTeacher, LowRankTeacher, start, teacher_of
from deepmoviematch.trainer.recipe import RetrievalRecipe

RECIPE = RetrievalRecipe(name="tiny", ease_penalty=2.0)


def some_likes(users: int = 40, items: int = 9) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.random.default_rng(2).random((users, items)) < 0.4).astype(np.float32))


def test_leading_vectors_are_those_of_the_whole_decomposition() -> None:
    root = np.random.default_rng(1).normal(size=(30, 12))
    square = (root.T @ root).astype(np.float32)
    vectors, values = leading(lambda found: square @ found, 12, 3, np.random.default_rng(1))
    expected, turned = np.linalg.eigh(square)
    assert values == pytest.approx(expected[::-1][:3], rel=1e-4)
    assert np.abs(vectors.T @ turned[:, ::-1][:, :3]) == pytest.approx(np.eye(3), abs=1e-3)


def test_with_all_directions_the_inverse_is_exact() -> None:
    likes = some_likes().toarray()
    inverse = LowRankInverse.fit(some_likes(), 2.0, np.random.default_rng(1))
    expected = np.linalg.inv(likes.T @ likes + 2 * np.eye(9))
    assert inverse(np.eye(9, dtype=np.float32)) == pytest.approx(expected, abs=1e-4)


def test_what_the_directions_leave_of_the_diagonal_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_rank, "DIRECTIONS", 2)
    inverse = LowRankInverse.fit(some_likes(), 2.0, np.random.default_rng(1))
    likes = some_likes().toarray()
    made = np.linalg.inv(inverse(np.eye(9, dtype=np.float32))) - 2 * np.eye(9)
    assert np.diag(made) == pytest.approx((likes**2).sum(axis=0), rel=1e-3)
    assert np.linalg.matrix_rank(made - np.diag(np.diag(made)), tol=0.5) <= 9


def weights(teacher: teachers.Teacher) -> Floats:
    return teacher.times(np.eye(9, dtype=np.float32))


def test_with_all_directions_the_low_rank_teacher_is_ease(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = teacher_of(some_likes(), RECIPE)
    monkeypatch.setattr(teachers, "LARGEST", 8)
    low = teacher_of(some_likes(), RECIPE)
    assert isinstance(exact, ExactTeacher)
    assert isinstance(low, LowRankTeacher)
    assert weights(low) == pytest.approx(weights(exact), abs=1e-3)
    assert low.transposed_times(np.eye(9, dtype=np.float32)) == pytest.approx(weights(exact).T, abs=1e-3)
    histories, asked = sparse.csr_matrix(np.eye(9, dtype=np.float32)[:2]), np.array([1, 4, 8])
    scores = low.score(histories, asked), exact.score(histories, asked)
    assert scores[0][0] == pytest.approx(scores[1][0], abs=1e-3)
    assert scores[0][1, 1:] == pytest.approx(scores[1][1, 1:], abs=1e-3)  # what is known may score any


@pytest.mark.parametrize(
    ("largest", "scores"), [(9, 360), (9, 359), (8, 360)], ids=["exact", "scores not laid out", "low rank"]
)
def test_at_full_width_the_start_rebuilds_the_teacher(
    monkeypatch: pytest.MonkeyPatch, largest: int, scores: int
) -> None:
    monkeypatch.setattr(teachers, "LARGEST", largest)
    monkeypatch.setattr(teachers, "MOST_SCORES", scores)
    teacher = teacher_of(some_likes(), RECIPE)
    factors, table = start(teacher, some_likes(), 9, np.random.default_rng(1))
    assert table @ factors.T == pytest.approx(weights(teacher), abs=1e-4)


def test_where_nobody_likes_two_items_the_start_is_popularity() -> None:
    likes = sparse.csr_matrix(np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=np.float32))
    factors, table = start(teacher_of(likes, RECIPE), likes, 2, np.random.default_rng(1))
    assert factors[:, 0] == pytest.approx(np.array([2, 1, 0]) / np.sqrt(5))
    assert not table.any()
    assert not factors[:, 1].any()
