import numpy as np
import pytest
from scipy import sparse

from deepmoviematch.trainer import ease
from deepmoviematch.trainer.ease import Ease
from deepmoviematch.trainer.errors import TrainingError


@pytest.mark.parametrize("users", [20, 5], ids=["more users than items", "fewer"])
def test_the_weights_are_the_least_squares_answer_without_the_diagonal(users: int) -> None:
    # Column by column: ridge regression of an item on all the others.
    likes = (np.random.default_rng(1).random((users, 6)) < 0.5).astype(np.float32)
    assert likes.any(axis=0).all()
    weights = Ease.fit(sparse.csr_matrix(likes), penalty=2.0).weights
    for item in range(6):
        others = np.delete(np.arange(6), item)
        gram = likes[:, others].T @ likes[:, others] + 2.0 * np.eye(5)
        expected = np.linalg.solve(gram, likes[:, others].T @ likes[:, item])
        assert weights[others, item] == pytest.approx(expected, abs=1e-5)
        assert weights[item, item] == 0


@pytest.mark.parametrize("users", [20, 5], ids=["more users than items", "fewer"])
@pytest.mark.parametrize("penalty", [1e-9, 1e39])
def test_a_penalty_that_single_precision_cannot_solve_with_is_refused(users: int, penalty: float) -> None:
    likes = sparse.csr_matrix(np.ones((users, 6), dtype=np.float32))
    with pytest.raises(TrainingError, match=r"ease_penalty must be neither .* got 1e[-+]\d+; try 100"):
        Ease.fit(likes, penalty)


def test_an_item_that_nobody_likes_scores_nothing() -> None:
    likes = sparse.csr_matrix(np.array([[1, 0, 1], [1, 0, 1], [1, 0, 0]], dtype=np.float32))
    scores = Ease.fit(likes, penalty=1.0).score(likes)
    assert scores.shape == (3, 3)
    assert (scores[:, 1] == 0).all()
    assert scores[2, 2] > 0


def test_of_a_catalogue_too_large_to_square_the_most_liked_items_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ease, "LARGEST", 2)
    likes = sparse.csr_matrix(np.array([[1, 0, 1], [1, 1, 1], [0, 0, 1]], dtype=np.float32))
    solved = Ease.fit(likes, penalty=1.0)
    assert solved.items.tolist() == [0, 2]
    assert solved.weights.shape == (2, 2)
    assert (solved.score(likes)[:, 1] == 0).all()
