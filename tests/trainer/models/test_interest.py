import numpy as np
import pytest
from scipy import sparse

from deepmoviematch.data.arrays import Floats
from deepmoviematch.trainer.models import interest
from deepmoviematch.trainer.models.interest import interest_signal

USERS, ITEMS = 60, 30


def signal(likes: Floats, others: Floats) -> float:
    return interest_signal(sparse.csr_matrix(likes), sparse.csr_matrix(others), 5.0, seed=1)


def two_tastes(*, rates: float) -> tuple[Floats, Floats]:
    """Half of the users like some items of the first half, the others some of the second.

    A share `rates` of the users rates others of the same half low, the others some of the other half.
    """
    draw = np.random.default_rng(4).random((USERS, ITEMS))
    mine = np.arange(USERS)[:, None] % 2 == np.arange(ITEMS) // (ITEMS // 2)
    likes = mine & (draw < 0.5)
    others = ~likes & (draw < 0.7) & (mine == (np.random.default_rng(5).random((USERS, 1)) < rates))
    return likes.astype(np.float32), others.astype(np.float32)


def test_who_rates_low_what_is_like_the_likes_tells_of_interest() -> None:
    assert signal(*two_tastes(rates=1)) == 1


def test_who_rates_low_what_is_unlike_the_likes_tells_none() -> None:
    assert signal(*two_tastes(rates=0)) == 0


def test_an_item_that_everybody_rated_tells_nothing() -> None:
    likes, others = two_tastes(rates=0.8)
    all_rated = np.random.default_rng(6).random((USERS, 3)) < 0.5
    with_them = signal(np.hstack([likes, all_rated]), np.hstack([others, ~all_rated]))
    assert with_them == pytest.approx(signal(likes, others), abs=0.1)


def test_in_between_it_tells_some() -> None:
    assert 0 < signal(*two_tastes(rates=0.8)) < 1


def test_where_everything_rated_is_liked_there_is_nothing_to_tell() -> None:
    likes, others = two_tastes(rates=1)
    assert signal(likes, np.zeros_like(others)) == 0
    assert signal(np.ones_like(likes), np.zeros_like(others)) == 0


@pytest.mark.parametrize(("users", "items"), [(30, ITEMS), (USERS, 20)])
def test_a_sample_of_very_many_tells_the_same(
    monkeypatch: pytest.MonkeyPatch, users: int, items: int
) -> None:
    monkeypatch.setattr(interest, "MOST_USERS", users)
    monkeypatch.setattr(interest, "MOST_ITEMS", items)
    assert signal(*two_tastes(rates=1)) > 0.5
    assert signal(*two_tastes(rates=0)) == 0
