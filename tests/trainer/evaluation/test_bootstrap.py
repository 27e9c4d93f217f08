import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from deepmoviematch.data.arrays import Floats
from deepmoviematch.trainer.evaluation.bootstrap import Interval


@settings(max_examples=20)
@given(arrays.arrays(np.float32, st.integers(1, 30), elements=st.floats(0, 1, width=32)))
def test_an_interval_holds_the_mean_and_stays_in_the_range_of_the_values(values: Floats) -> None:
    interval = Interval.of(values, seed=0)
    assert values.min() - 1e-6 <= interval.low <= interval.high <= values.max() + 1e-6
    assert interval.mean == pytest.approx(values.mean(dtype=np.float64))


def test_an_interval_is_as_wide_as_the_normal_approximation_says() -> None:
    values = np.random.default_rng(0).random(400).astype(np.float32)
    interval = Interval.of(values, seed=0)
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.1)


def test_a_figure_that_a_user_does_not_have_is_left_out_of_the_mean() -> None:
    values = np.array([0.5, np.nan, 1.0], dtype=np.float32)
    assert Interval.of(values, seed=0).mean == 0.75
    assert np.isnan(Interval.of(values[1:2], seed=0).mean)


def test_a_ratio_is_of_means_and_of_the_same_users() -> None:
    theirs = np.random.default_rng(0).random(50).astype(np.float32)
    ratio = Interval.of_ratio(2 * theirs, theirs, seed=0)
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((2, 2, 2))


def test_a_difference_is_of_means_and_of_the_same_users() -> None:
    theirs = np.random.default_rng(0).random(50).astype(np.float32)
    difference = Interval.of_difference(theirs + 0.25, theirs, seed=0)
    assert (difference.mean, difference.low, difference.high) == pytest.approx((0.25, 0.25, 0.25), abs=1e-6)


def test_a_person_who_was_asked_twice_is_resampled_whole() -> None:
    """Asking everyone again teaches nothing new, so the interval stays as wide."""
    values = np.random.default_rng(0).random(60).astype(np.float32)
    once = Interval.of(values, seed=0)
    twice = Interval.of(np.tile(values, 2), seed=0, persons=np.tile(np.arange(60), 2))
    assert (twice.mean, twice.low, twice.high) == pytest.approx((once.mean, once.low, once.high))
    assert Interval.of(np.tile(values, 2), seed=0).high < once.high


def test_a_ratio_to_nothing_is_not_a_number_and_no_warning() -> None:
    ratio = Interval.of_ratio(np.ones(5, dtype=np.float32), np.zeros(5, dtype=np.float32), seed=0)
    assert not np.isfinite([ratio.mean, ratio.low, ratio.high]).any()
