import numpy as np
import pytest
from scipy import sparse

from deepmoviematch.trainer.models.similar_tastes import SimilarTastes

LIKES = np.array(
    [[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]],
    dtype=np.float32,
)
"""Of four users, the last likes nothing; nobody likes the last item."""

ALL = np.arange(4, dtype=np.int32)

SHARES = np.array([[1, 0.5], [0.25, 0.75], [0.5, 0.5], [0, 0]], dtype=np.float32)
"""Of two genres in what the four users like."""


def test_users_predict_what_they_like_by_the_chance_that_they_tick_the_same() -> None:
    # The first genre is ticked, by the last user: with chances of 2/3, 1/4 and 1/2 by the others.
    # They like 2, 2 and 3 items, each by the root of that.
    fitted = SimilarTastes.fit(sparse.csr_matrix(LIKES), SHARES, (1.0, 2.0), seed=1)
    chances = fitted.chances(np.array([[True, False]]), np.array([0]), np.array([3]), ALL)
    two, three = 1 / np.sqrt(2), 1 / np.sqrt(3)
    wanted = (2 / 3) * two * LIKES[0] + (1 / 4) * two * LIKES[1] + (1 / 2) * three * LIKES[2]
    assert chances[0] == pytest.approx(wanted / wanted.sum(), abs=1e-6)


def test_the_more_decided_tick_by_a_power_of_the_share_and_both_genres_by_the_product() -> None:
    fitted = SimilarTastes.fit(sparse.csr_matrix(LIKES), SHARES, (1.0, 2.0), seed=1)
    chances = fitted.chances(np.array([[True, True]]), np.array([1]), np.array([0]), ALL)
    # The second and the third are left.
    first, second = (1 / 10) * (9 / 10) / np.sqrt(2), (1 / 2) * (1 / 2) / np.sqrt(3)
    wanted = first * LIKES[1] + second * LIKES[2]
    assert chances[0] == pytest.approx(wanted / wanted.sum(), abs=1e-6)


def test_where_there_is_nobody_else_ticks_predict_nothing() -> None:
    fitted = SimilarTastes.fit(sparse.csr_matrix(LIKES[:1]), SHARES[:1], (1.0,), seed=1)
    assert not fitted.chances(np.array([[True, False]]), np.array([0]), np.array([0]), ALL).any()


def test_chances_of_some_items_are_those_among_all() -> None:
    fitted = SimilarTastes.fit(sparse.csr_matrix(LIKES), SHARES, (1.0,), seed=1)
    told = np.array([[True, False]]), np.array([0]), np.array([3])
    some = fitted.chances(*told, np.array([0, 2], dtype=np.int32))
    assert some == pytest.approx(fitted.chances(*told, ALL)[:, [0, 2]])


def test_whoever_likes_many_genres_ticks_one_as_surely_as_anybody() -> None:
    shares = np.array([[0.1] * 10, [0.91] + [0.01] * 9], dtype=np.float32)
    likes = sparse.csr_matrix(np.ones((2, 3), dtype=np.float32))
    fitted = SimilarTastes.fit(likes, shares, (1.0, 4.0), seed=1)
    chances = np.exp(fitted.chances_to_tick).reshape(2, 10, 2)  # [P, G, V]
    assert chances.sum(axis=1) == pytest.approx(np.ones((2, 2)), abs=1e-5)
    assert chances[1, :, 0] == pytest.approx(np.full(10, 0.1), abs=1e-5)
