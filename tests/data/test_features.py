import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.features import (
    DECAYS,
    LIKE_STARS,
    SUMMARIES,
    WINDOW,
    content_features,
    genre_means,
    preference_gate,
    preference_signal,
    preferences_from_lift,
    recent_items,
    year_knots,
    year_statistics,
)
from deepmoviematch.data.ratings import RatingScale
from deepmoviematch.data.user_batch import UserBatch


def catalogue(years: list[int]) -> Catalogue:
    genres = np.zeros((len(years), 2), dtype=np.bool_)
    genres[0, 1] = True
    ids = tuple(map(str, range(len(years))))
    return Catalogue(ids, ids, np.array(years, dtype=np.int32), ("Comedy", "Drama"), genres)


def test_genre_means_are_averages_of_the_stars_given() -> None:
    """User 0 gave 5 to a movie of both genres and 2 to a comedy; user 1 gave 4 to one without genre."""
    genres = np.array([[1, 1], [1, 0], [0, 0]], dtype=np.bool_)
    users = UserBatch.of(2, [{}, {}], [{0: 5.0, 1: 2.0}, {2: 4.0}])
    means = genre_means(users, genres)
    assert np.array_equal(means, [[3.5, 5], [np.nan, np.nan]], equal_nan=True)
    assert means.dtype == np.float32


@pytest.mark.parametrize(
    ("low", "top", "least", "less"),
    [
        (0.5, 5, 4, 3.5),
        (1, 10, 8, 7.9),
        (0, 1, 0.8, 0.7),
        (1, 1, 0.8, 0.7),
        (-1, 8, 6, 5.9),
        (-10, 10, 5.6, 5.5),
    ],
)
def test_a_like_is_four_fifths_of_the_top_or_seven_ninths_of_the_way_up_from_below_zero(
    low: float, top: float, least: float, less: float
) -> None:
    scale = RatingScale(low, top)
    given_ = np.array([least, less], dtype=np.float32)
    assert (scale.stars(given_) >= LIKE_STARS).tolist() == [True, False]


@given(st.lists(st.dictionaries(st.integers(0, 5), st.sampled_from([0.5, 3.0, 5.0]), max_size=6), max_size=4))
def test_genre_means_are_those_of_a_loop(histories: list[dict[int, float]]) -> None:
    genres = np.random.default_rng(0).random((6, 3)) < 0.5
    means = genre_means(UserBatch.of(3, [{}] * len(histories), histories), genres)
    for user, history in enumerate(histories):
        for genre in range(3):
            stars = [value for item, value in history.items() if genres[item, genre]]
            expected = np.mean(stars) if stars else np.nan
            assert np.isclose(means[user, genre], expected, equal_nan=True)


def test_preference_signal_runs_from_minus_one_to_one() -> None:
    stars = np.array([[0.5, 2.75, 5, np.nan]], dtype=np.float32)
    assert preference_signal(stars).tolist() == [[-1, 0, 1, 0]]
    assert preference_signal(stars).dtype == np.float32


def test_lift_becomes_stars() -> None:
    lift = np.array([[1, 8, 100, 1 / 8, 0]], dtype=np.float32)
    assert preferences_from_lift(lift).tolist() == [[2.75, 5, 5, 0.5, 0.5]]


@given(arrays(np.float32, (3, 4), elements=st.floats(0, 64, width=32)))
def test_more_lift_is_never_fewer_stars(lift: Floats) -> None:
    order = np.argsort(lift, axis=None)
    assert np.all(np.diff(preferences_from_lift(lift).ravel()[order]) >= 0)


def test_gate_closes_as_the_history_grows() -> None:
    stated = np.array([1, 1, 1, 0, 0], dtype=np.bool_)
    gate = preference_gate(stated, np.array([0, 1, 3, 0, 3]), exponent=1.0)
    assert gate.tolist() == [1, 0.5, 0.25, 1, 0]


def test_content_features_are_year_known_and_genres() -> None:
    features = content_features(
        catalogue([2000, 0, 1980]), mean=1990, scale=10, knots=np.empty((0, 2), dtype=np.float32)
    )
    assert features.tolist() == [[1, 1, 0, 1], [0, 0, 0, 0], [-1, 1, 0, 0]]
    assert features.dtype == np.float32


def test_a_hat_falls_from_the_year_of_its_knot_over_its_span() -> None:
    knots = np.array([[2000, 10], [2001, 3]], dtype=np.float32)
    features = content_features(catalogue([2000, 0, 1995]), mean=0, scale=1, knots=knots)
    assert features[:, -2:] == pytest.approx(np.array([[1, 2 / 3], [0, 0], [0.5, 0]]))


@given(years=st.lists(st.integers(-3000, 3000).filter(bool), min_size=1, max_size=9))
def test_the_hats_of_a_known_year_add_up_to_one_for_each_span_and_are_not_too_many(years: list[int]) -> None:
    knots = year_knots(catalogue(years))
    features = content_features(catalogue(years), mean=0, scale=1, knots=knots)
    assert features[:, 2 + 2 :].sum(axis=1) == pytest.approx(np.full(len(years), 2), abs=1e-3)
    assert len(knots) < 100


def test_without_years_there_are_no_hats() -> None:
    assert year_knots(catalogue([0, 0])).shape == (0, 2)


@pytest.mark.parametrize(
    ("years", "mean", "scale"),
    [([1990, 2010, 0], 2000, 10), ([0, 0], 0, 1), ([1999, 0], 1999, 1)],
    ids=["some known", "none known", "all alike"],
)
def test_year_statistics_are_of_the_known_years(years: list[int], mean: float, scale: float) -> None:
    assert year_statistics(catalogue(years)) == (mean, scale)


def test_recent_items_weigh_the_latest_most_by_hand() -> None:
    """A history of two: the latest has age 0, the one before it age 1."""
    users = UserBatch.of(0, [{}, {}, {}], [{7: 5.0, 3: 1.0}, {}, {4: 5.0}])
    rows, weights = recent_items(users)
    assert rows[:, :2].tolist() == [[3, 7], [0, 0], [4, 0]]
    assert not weights[:, 2:].any()
    weights = weights[:, :2]
    for column, decay in enumerate(DECAYS):
        length = np.hypot(1, decay)
        assert weights[0, :, column] == pytest.approx([1 / length, decay / length])
    assert weights[0, :, len(DECAYS) :].tolist() == [[1, 0], [0, 1]]
    assert not weights[1].any()
    assert weights[2, :, : len(DECAYS) + 1].tolist() == [[1] * 4, [0] * 4]  # the only one is all there is


def test_recent_items_look_no_further_back_than_the_window() -> None:
    history = dict.fromkeys(range(WINDOW + 10), 5.0)
    rows, weights = recent_items(UserBatch.of(0, [{}], [history]))
    assert rows.tolist() == [list(range(WINDOW + 9, 9, -1))]
    assert weights.shape == (1, WINDOW, SUMMARIES)
