from itertools import product

import numpy as np
import pytest
from scipy import sparse

from deepmoviematch.data.arrays import Floats
from deepmoviematch.trainer.models import few_likes
from deepmoviematch.trainer.models.few_likes import MOST_TOLD, PENALTY, TOLD_LIKES, FewLikes

ITEMS = 6
ALL = np.arange(ITEMS, dtype=np.int32)


def some_likes(users: int) -> tuple[Floats, Floats]:
    """Likes, at least one of each user, and what else they rated; nobody likes the last item."""
    draw = np.random.default_rng(3).random((users, ITEMS))
    draw[np.arange(users), np.arange(users) % (ITEMS - 1)] = 0
    draw[:, -1] = 0.9
    likes = (draw < 0.5).astype(np.float32)
    return likes, (draw > 0.7).astype(np.float32)


def fitted(likes: Floats, others: Floats) -> FewLikes:
    solved = FewLikes.fit(sparse.csr_matrix(likes), sparse.csr_matrix(likes + 0.25 * others), seed=1)
    assert solved is not None
    return solved


@pytest.mark.parametrize("users", [20, 3], ids=["more users than items", "fewer"])
def test_it_is_the_best_linear_guess_over_all_that_users_might_tell(users: int) -> None:
    likes, others = some_likes(users)
    squares, products = np.zeros((2, ITEMS - 1, ITEMS - 1))
    for liked, other in zip(likes[:, :-1], others[:, :-1], strict=True):
        chance = min(TOLD_LIKES / liked.sum(), MOST_TOLD)
        for draw in product([0, 1], repeat=int(liked.sum())):
            told = liked.copy()
            told[liked > 0] = draw
            likelihood = np.prod(np.where(draw, chance, 1 - chance))
            squares += likelihood * np.outer(told, told)
            products += likelihood * np.outer(told, liked - told + 0.25 * other)
    np.fill_diagonal(products, 0)  # an item says nothing of itself
    expected = np.linalg.solve(squares + PENALTY * np.eye(ITEMS - 1), products)
    solved = fitted(likes, others)
    assert solved.items.tolist() == list(range(ITEMS - 1))
    assert solved.weights == pytest.approx(expected, abs=1e-5)


def test_scores_are_sums_of_the_weights_of_what_is_told() -> None:
    solved = fitted(*some_likes(20))
    histories = np.eye(ITEMS, dtype=np.float32)[[0, 1, 5]]
    histories[1, 0] = 1
    scores = solved.score(sparse.csr_matrix(histories), ALL[1:])
    assert scores[0, :-1] == pytest.approx(solved.weights[0, 1:])
    assert scores[1, :-1] == pytest.approx(solved.weights[:2, 1:].sum(axis=0))
    assert not scores[2].any()  # nobody likes that item


def test_there_is_none_where_too_many_items_are_liked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_likes, "LARGEST", ITEMS - 2)
    likes, _ = some_likes(20)
    assert FewLikes.fit(sparse.csr_matrix(likes), sparse.csr_matrix(likes), seed=1) is None
