import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deepmoviematch.data.features import RECENCY, TRANSITION
from deepmoviematch.data.tables import Floats, Ratings
from deepmoviematch.trainer.models.markov import Markov, later_likes, prefixes

ITEMS = 12


def some_ratings(seed: int) -> Ratings:
    """20 users with up to nine ratings each, in a random order."""
    rng = np.random.default_rng(seed)
    histories = [rng.permutation(ITEMS)[: rng.integers(1, 10)] for _ in range(20)]
    users = np.repeat(np.arange(20, dtype=np.int32), [len(each) for each in histories])
    return Ratings.from_columns(
        tuple(f"u{user:02}" for user in range(20)),
        users,
        np.concatenate(histories).astype(np.int32),
        rng.integers(1, 6, len(users)).astype(np.float32),
        np.arange(len(users), dtype=np.int64),
    )


def solved_by_hand(ratings: Ratings, penalty: float) -> Floats:
    """The same regression with every row laid out, one user and one like after the other."""
    rows, targets = [], []
    for user in range(len(ratings.user_ids)):
        begin, end = ratings.offsets[user : user + 2]
        for place in range(begin + 1, end):
            if ratings.stars[place] >= 4:
                row = np.zeros(ITEMS)
                for age, earlier in enumerate(range(place - 1, begin - 1, -1)):
                    row[ratings.items[earlier]] = 0.8**age
                rows.append(row / np.linalg.norm(row))
                targets.append(np.eye(ITEMS)[ratings.items[place]])
    histories, follows = np.array(rows), np.array(targets)
    weights: Floats = np.linalg.solve(
        histories.T @ histories + penalty * np.eye(ITEMS), histories.T @ follows
    )
    return weights


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), penalty=st.sampled_from([0.5, 5.0, 100.0]))
def test_at_full_width_it_is_the_ridge_regression(seed: int, penalty: float) -> None:
    ratings = some_ratings(seed)
    markov = Markov.fit(ratings, ITEMS, penalty=penalty, width=ITEMS, seed=1)
    assert markov.users @ markov.items.T == pytest.approx(solved_by_hand(ratings, penalty), abs=1e-4)


def test_cut_to_a_width_it_keeps_what_matters_most_for_the_histories_it_saw() -> None:
    ratings = some_ratings(3)
    narrow = Markov.fit(ratings, ITEMS, penalty=5.0, width=4, seed=1)
    whole = solved_by_hand(ratings, 5.0)
    users = prefixes(ratings, later_likes(ratings))
    histories = np.zeros((len(users), ITEMS))
    for user in range(len(users)):
        items = users.items[users.offsets[user] : users.offsets[user + 1]][::-1]
        histories[user, items] = RECENCY[len(items), : len(items), TRANSITION]
    wanted = np.linalg.svd(histories @ whole)
    best = (wanted.U[:, :4] * wanted.S[:4]) @ wanted.Vh[:4]  # Eckart and Young
    assert histories @ narrow.users @ narrow.items.T == pytest.approx(best, abs=1e-4)


def test_items_that_nobody_rated_follow_nothing_and_are_followed_by_nothing() -> None:
    ratings = some_ratings(4).take(some_ratings(4).items != 7)
    markov = Markov.fit(ratings, ITEMS, penalty=5.0, width=20, seed=1)
    assert not markov.users[7].any()
    assert not markov.items[7].any()
    assert markov.items.shape == (ITEMS, ITEMS - 1)


def test_a_later_like_has_a_history() -> None:
    ratings = some_ratings(5)
    likes = later_likes(ratings)
    assert (ratings.stars[likes] >= 4).all()
    assert (prefixes(ratings, likes).history_sizes >= 1).all()
