from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn.model_selection import train_test_split

from deepmoviematch.data.errors import DataError
from deepmoviematch.data.features import LIKE_STARS
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.splits import hold_out_users, random_split


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_random_split_is_that_of_scikit_learn(rows: int, share: float, seed: int) -> None:
    try:
        expected = train_test_split(np.arange(rows), test_size=share, random_state=seed)
    except ValueError:  # no row to train on
        with pytest.raises(DataError):
            random_split(rows, test_share=share, seed=seed)
        return
    for found, side in zip(random_split(rows, test_share=share, seed=seed), expected, strict=True):
        assert found.tolist() == side.tolist()


def test_random_split_is_that_of_the_exercise() -> None:
    expected = train_test_split(np.arange(50_884), train_size=0.80, shuffle=True, random_state=1)
    for found, side in zip(random_split(50_884, test_share=0.2, seed=1), expected, strict=True):
        assert np.array_equal(found, side)


@pytest.mark.parametrize("share", [0, 1, -0.5])
def test_random_split_needs_rows_on_both_sides(share: float) -> None:
    with pytest.raises(DataError, match="rows on both sides"):
        random_split(10, test_share=share, seed=0)


def made_up(users: int, items: int, seed: int) -> Ratings:
    """Every user rates a random half of the items, 1 to 5 stars."""
    random = np.random.default_rng(seed)
    rated = random.random((users, items)) < 0.5
    rated[:, 0] = True
    owners, chosen = np.nonzero(rated)
    return Ratings.from_columns(
        tuple(f"u{user}" for user in range(users)),
        owners.astype(np.int32),
        chosen.astype(np.int32),
        random.integers(1, 6, len(owners)).astype(np.float32),
        random.integers(0, 100, len(owners)),
    )


def rows_of(ratings: Ratings) -> set[tuple[str, int, float]]:
    return {
        (ratings.user_ids[user], int(item), float(rating))
        for user, item, rating in zip(ratings.users, ratings.items, ratings.ratings, strict=True)
    }


@given(
    st.integers(5, 30), st.integers(12, 40), st.integers(0, 1000), st.floats(0.1, 0.9), st.floats(0.1, 0.9)
)
def test_held_out_users_are_split_without_overlap(
    users: int, items: int, seed: int, share: float, history_share: float
) -> None:
    ratings = made_up(users, items, seed)
    try:
        split = hold_out_users(ratings, share=share, seed=seed, history_share=history_share)
    except DataError:
        return  # too few likes in so small a table
    everything, history = rows_of(ratings), rows_of(split.history)
    stars = {(user, item): rating for user, item, rating in everything}
    targets = {
        (split.history.user_ids[user], int(item))
        for user, item in zip(split.target_users, split.target_items, strict=True)
    }
    held = set(split.history.user_ids)
    assert rows_of(split.train) | history <= everything
    assert not held & set(split.train.user_ids)
    assert not targets & {(user, item) for user, item, _ in history}
    assert all(stars[pair] >= LIKE_STARS for pair in targets)
    assert {user for user, _ in targets} == held
    for user in held:
        own = {(item, rating) for name, item, rating in everything if name == user}
        shown = {(item, rating) for name, item, rating in history if name == user}
        assert len(shown) == max(1, int(np.floor(history_share * len(own))))
        assert sum(rating >= 4 for _, rating in own) >= 5
        likes_in_the_rest = {item for item, rating in own - shown if rating >= 4}
        assert likes_in_the_rest == {item for name, item in targets if name == user}
    assert len(split.train.user_ids) + len(held) <= users  # whoever has no target is left out
    assert (np.diff(split.target_users) >= 0).all()
    assert split.history.scale == split.train.scale == ratings.scale


def test_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    ratings = made_up(30, 30, 0)
    first, again, other = (hold_out_users(ratings, share=0.3, seed=seed) for seed in (1, 1, 2))
    assert rows_of(first.history) == rows_of(again.history)
    assert first.target_items.tolist() == again.target_items.tolist()
    assert rows_of(first.history) != rows_of(other.history)


def test_share_is_of_the_users_with_enough_likes() -> None:
    """Ten users like six items each; ten more like four."""
    users = np.repeat(np.arange(20), 8).astype(np.int32)
    items = np.tile(np.arange(8), 20).astype(np.int32)
    likes = np.where(users < 10, 6, 4)
    stars = np.where(items < likes, 5, 1).astype(np.float32)
    ratings = Ratings(tuple(map(str, range(20))), users, items, stars, None)
    split = hold_out_users(ratings, share=0.4, seed=3)
    assert len(split.history.user_ids) <= 4
    assert {int(user) for user in split.history.user_ids} <= set(range(10))
    assert len(split.train.user_ids) == 16


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"share": 0}, "share must be above 0 and below 1, got 0"),
        ({"share": 1}, "share must be above 0 and below 1, got 1"),
        ({"history_share": 1.5}, "history_share must be above 0 and below 1, got 1.5"),
        ({"min_likes": 1000}, "share of the users with 1000 likes must be held out, got 0.5 of 0"),
        ({"share": 0.001}, "must be held out, got 0.001 of .* users; that takes 501 users"),
    ],
)
def test_split_that_cannot_be_is_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        hold_out_users(made_up(10, 30, 0), **({"share": 0.5, "seed": 0} | changes))


def test_somebody_must_be_left_to_train_on() -> None:
    with pytest.raises(DataError, match="left to train on"):
        hold_out_users(made_up(1, 40, 0), share=0.9, seed=0)
