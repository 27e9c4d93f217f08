import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.data.arrays import Floats
from deepmoviematch.trainer.models.agreement import agreement_of


def tastes(seed: int, *, users: int, width: int) -> Floats:
    """[users, width] unit vectors that differ more along some directions than along others."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(users, width)) * rng.uniform(0.1, 1, width) + rng.normal(size=width)
    vectors: Floats = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def cosines(vectors: Floats) -> Floats:
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    products: Floats = units @ units.T
    return products


@given(seed=st.integers(0, 1000), width=st.integers(2, 8))
def test_cosines_are_the_correlations_of_scores_among_users(seed: int, width: int) -> None:
    users = tastes(seed, users=100, width=width)
    items = np.random.default_rng([seed, 1]).normal(size=(5, width)).astype(np.float32)
    # That no direction has less than a thousandth of the mean variance hardly shows.
    assert cosines(items @ agreement_of(users)) == pytest.approx(np.corrcoef(items @ users.T), abs=0.02)


def test_items_are_alike_that_the_same_users_score_high() -> None:
    # Half of the users look up along the first axis, half down; the second says little of anybody.
    users = np.array([[0.9, 0.1], [0.9, -0.1], [-0.9, 0.1], [-0.9, -0.1]], dtype=np.float32)
    first, second, other = np.array([[0.5, 1], [0.5, -1], [-0.5, 1]], dtype=np.float32)
    before = cosines(np.array([first, second, other]))
    assert before[0, 2] > 0 > before[0, 1]
    found = cosines(np.array([first, second, other]) @ agreement_of(users))
    # Of the scores .5 * .9 varies together, 1 * .1 apart: (.2025 - .01) / (.2025 + .01).
    assert found[0, 1] == pytest.approx(0.1925 / 0.2125, abs=1e-3)
    assert found[0, 2] == pytest.approx(-0.1925 / 0.2125, abs=1e-3)


@pytest.mark.parametrize("users", [1, 3])
def test_of_users_who_are_all_alike_nothing_is_learnt(users: int) -> None:
    alike = np.tile(tastes(1, users=1, width=5), (users, 1))
    assert (agreement_of(alike) == np.eye(5)).all()


def test_an_item_that_no_user_differs_on_is_somewhere_still() -> None:
    users = np.array([[1, 0, 0], [-1, 0, 0]], dtype=np.float32)
    placed = np.array([[0, 1, 0]], dtype=np.float32) @ agreement_of(users)
    assert np.linalg.norm(placed) > 0.01
