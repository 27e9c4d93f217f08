import numpy as np

from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch


def three_users() -> UserBatch:
    """One states genre 1, one has two interactions, of one nothing is known."""
    return UserBatch.of(2, [{1: 4.5}, {}, {}], [{}, {3: 5.0, 0: 1.0}, {}])


def test_batch_of_mappings() -> None:
    users = three_users()
    assert len(users) == 3
    assert np.array_equal(
        users.preferences, [[np.nan, 4.5], [np.nan, np.nan], [np.nan, np.nan]], equal_nan=True
    )
    assert (users.items.tolist(), users.stars.tolist()) == ([3, 0], [5, 1])
    assert users.offsets.tolist() == [0, 0, 2, 2]
    assert users.history_sizes.tolist() == [0, 2, 0]
    assert users.owners.tolist() == [1, 1]
    assert users.states_preferences.tolist() == [True, False, False]
    assert users.has_features.tolist() == [True, True, False]


def test_batch_of_nobody() -> None:
    users = UserBatch.of(2, [], [])
    assert (len(users), users.offsets.tolist(), users.preferences.shape) == (0, [0], (0, 2))


def test_slice_is_the_batch_of_those_users() -> None:
    part = three_users().slice(1, 3)
    assert len(part) == 2
    assert (part.items.tolist(), part.stars.tolist(), part.offsets.tolist()) == ([3, 0], [5, 1], [0, 2, 2])


def test_batch_of_histories_is_in_stars() -> None:
    ratings = Ratings(
        ("a", "b"),
        np.array([0, 1, 1], dtype=np.int32),
        np.array([2, 0, 1], dtype=np.int32),
        np.array([10, 6, 1], dtype=np.float32),
        None,
    )
    users = UserBatch.of_histories(ratings, genres=4)
    assert users.stars.tolist() == [5, 3, 0.5]
    assert users.preferences.shape == (2, 4)
    assert not users.states_preferences.any()
