import numpy as np
import pytest
from scipy import sparse

from deepmoviematch.trainer.models import low_rank
from deepmoviematch.trainer.models.low_rank import LowRankInverse, leading


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
