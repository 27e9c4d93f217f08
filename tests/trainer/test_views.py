import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import sparse

from deepmoviematch.data.tables import Floats
from deepmoviematch.trainer.views import (
    LONGEST_SHORT,
    MOST_TICKED,
    View,
    genre_lift,
    genre_shares,
    history_view,
    sample_preferences,
    short_view,
    stated_view,
)

seeds = st.integers(0, 1000)


def world(rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Likes and ratings of five users over 40 items, and preferences over 3 genres."""
    rated = (rng.random((5, 40)) < 0.5).astype(np.float32)
    likes = rated * (rng.random((5, 40)) < 0.6)
    return likes.astype(np.float32), rated, np.full((5, 3), 4.0, dtype=np.float32)


def views(seed: int) -> tuple[Floats, Floats, list[View]]:
    rng = np.random.default_rng(seed)
    likes, rated, stated = world(rng)
    return (
        likes,
        rated,
        [
            history_view(likes, rated, stated, (0.3, 0.8), rng),
            short_view(likes, stated, rng),
            stated_view(likes, stated),
        ],
    )


@given(seeds)
def test_what_is_known_and_what_is_asked_for_never_overlap_and_are_the_users_own(seed: int) -> None:
    likes, rated, asked = views(seed)
    for view in asked:
        assert (view.likes + view.targets == likes).all()
        assert (view.others <= rated - likes).all()
        for part in (view.likes, view.others, view.targets):
            assert set(np.unique(part)) <= {0, 1}


@given(seeds)
def test_a_short_history_has_one_to_six_likes_and_nothing_else(seed: int) -> None:
    likes, _, (_, short, _) = views(seed)
    counts = short.likes.sum(axis=1)
    assert (counts >= 1).all()
    assert (counts <= np.minimum(LONGEST_SHORT, likes.sum(axis=1))).all()
    assert not short.others.any()


def test_stated_preferences_come_without_a_history() -> None:
    likes, _, (_, _, stated) = views(0)
    assert not stated.likes.any()
    assert not stated.others.any()
    assert (stated.targets == likes).all()
    assert (stated.preferences == 4).all()


def test_some_users_with_a_history_state_preferences_and_some_do_not() -> None:
    rng = np.random.default_rng(0)
    likes, rated = (np.ones((1000, 8), dtype=np.float32) for _ in range(2))
    stated = np.full((1000, 3), 5.0, dtype=np.float32)
    share = np.isfinite(history_view(likes, rated, stated, (0.3, 0.8), rng).preferences[:, 0]).mean()
    assert share == pytest.approx(0.3, abs=0.05)
    assert np.isfinite(short_view(likes, stated, rng).preferences[:, 0]).mean() == pytest.approx(
        0.5, abs=0.05
    )


def test_shares_and_lift_of_genres_by_hand() -> None:
    likes = sparse.csr_matrix(np.array([[1, 1, 0], [0, 0, 0]], dtype=np.float32))
    genres = np.array([[True, False, False], [True, True, False], [False, True, False]])
    shares = genre_shares(likes, genres)
    assert shares.tolist() == [[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]]
    lift = genre_lift(shares, np.array([0.5, 0.5, 0.0], dtype=np.float32))
    assert lift.tolist() == [[2.0, 1.0, 1.0], [0.0, 0.0, 1.0]]


def test_sampled_preferences_are_exact_or_a_few_favourites_that_the_user_likes() -> None:
    shares = np.tile(np.array([0.5, 0.25, 0.0, 0.1, 0.1, 0.1, 0.1], dtype=np.float32), (2000, 1))
    stated = sample_preferences(shares, np.full(7, 0.25, dtype=np.float32), np.random.default_rng(0))
    favourites = np.isnan(stated[:, 2])
    assert favourites.mean() == pytest.approx(0.5, abs=0.05)
    ticked = stated[favourites] == 5
    assert set(ticked.sum(axis=1)) == set(range(1, MOST_TICKED + 1))
    assert not ticked[:, 2].any()
    assert ticked[:, 0].mean() > ticked[:, 3].mean()
    # A lift of 2, 1 and 0 (held at 1/8): a third of the way up from neutral, neutral, the lowest.
    assert stated[~favourites][0, :3] == pytest.approx([3.5, 2.75, 0.5])
