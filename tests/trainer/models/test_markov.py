import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.models import markov as transitions
from deepmoviematch.trainer.models.markov import BACKWARDS, OTHERS, RARITY, Markov

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


def laid_out(ratings: Ratings) -> tuple[Floats, Floats]:
    """The rows and what each asks for, one user, one rating and one direction after the other."""
    rows, targets = [], []
    likes = np.bincount(ratings.items[ratings.stars >= 4], minlength=ITEMS)
    for user in range(len(ratings.user_ids)):
        begin, end = ratings.offsets[user : user + 2]
        for place in range(begin + 1, end):
            item = ratings.items[place]
            counts = 1.0 if ratings.stars[place] >= 4 else OTHERS
            before, after = range(place - 1, begin - 1, -1), range(place + 1, end)
            for places, share in (before, 1.0), (after, BACKWARDS):
                row = np.zeros(ITEMS)
                for age, other in enumerate(places):
                    row[ratings.items[other]] = 0.8**age
                root = np.sqrt(counts * share)
                rows.append(root * row / (np.linalg.norm(row) or 1))
                targets.append(root * np.eye(ITEMS)[item] * (1 + likes[item]) ** -RARITY)
    return np.array(rows), np.array(targets)


def solved_by_hand(ratings: Ratings, penalty: float) -> Floats:
    """The same regression with every row laid out."""
    histories, follows = laid_out(ratings)
    weights: Floats = np.linalg.solve(
        histories.T @ histories + penalty * np.eye(ITEMS), histories.T @ follows
    )
    return weights


def test_a_penalty_that_single_precision_cannot_solve_with_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"transition_penalty must be neither .* got 1e-09; try 100"):
        Markov.fit(some_ratings(1), ITEMS, penalty=1e-9, width=ITEMS, seed=1)


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
    histories, _ = laid_out(ratings)
    wanted = np.linalg.svd(histories @ whole)
    best = (wanted.U[:, :4] * wanted.S[:4]) @ wanted.Vh[:4]  # Eckart and Young
    assert histories @ narrow.users @ narrow.items.T == pytest.approx(best, abs=1e-4)


def test_what_came_before_counts_more_than_what_came_after() -> None:
    """Users who take items in the order of the catalogue: the next one follows more than the last one."""
    users, items = np.divmod(np.arange(200, dtype=np.int32), 10)
    ratings = Ratings.from_columns(
        tuple(f"u{user:02}" for user in range(20)),
        users,
        items,
        np.full(200, 5.0, dtype=np.float32),
        np.arange(200),
    )
    markov = Markov.fit(ratings, ITEMS, penalty=1.0, width=ITEMS, seed=1)
    leads = markov.users @ markov.items.T
    for item in range(2, 9):
        assert leads[item, item + 1] > leads[item, item - 1] > 0


def test_of_more_ratings_than_it_takes_it_is_fitted_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    ratings = some_ratings(6)
    whole = Markov.fit(ratings, ITEMS, penalty=5.0, width=ITEMS, seed=1)
    monkeypatch.setattr(transitions, "MOST_ASKED", 30)
    sample = Markov.fit(ratings, ITEMS, penalty=5.0, width=ITEMS, seed=1)
    assert sample.users.shape == whole.users.shape
    assert np.linalg.norm(sample.users) < np.linalg.norm(whole.users)


def test_items_that_nobody_rated_follow_nothing_and_are_followed_by_nothing() -> None:
    ratings = some_ratings(4).take(some_ratings(4).items != 7)
    markov = Markov.fit(ratings, ITEMS, penalty=5.0, width=20, seed=1)
    assert not markov.users[7].any()
    assert not markov.items[7].any()
    assert markov.items.shape == (ITEMS, ITEMS - 1)
