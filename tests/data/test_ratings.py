from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.data.errors import DataError
from deepmoviematch.data.features import LIKE_STARS
from deepmoviematch.data.ratings import TOP_STARS, Ratings, RatingScale, pair_codes
from tests.data.small import ratings


@pytest.mark.parametrize(
    ("low", "top", "given_", "stars"),
    [
        (0.5, 5, [0.5, 3, 5], [0.5, 3, 5]),  # MovieLens stays
        (1, 10, [1, 7, 10], [0.5, 3.5, 5]),  # stretched
        (0, 1, [0, 1], [0, 5]),
        (0, 205, [164, 205], [4, 5]),  # and not a hair less
        (133, 133, [133], [5]),
        (-1, 1, [-1, 0, 1], [0.5, 2.75, 5]),  # shifted onto 0.5..5
        (-2.7, 2.7, [-2.7, 1.5, 2.7], [0.5, 4, 5]),  # seven ninths of the way up, and not a hair less
        (-3.4e38, 3.4e38, [-3.4e38, 0, 3.4e38], [0.5, 2.75, 5]),
        (5, 5, [0.5, 5], [0.5, 5]),  # nothing but praise, so far
        (1, 1, [0.1, 1], [0.5, 5]),
        (0, 0, [0, 0], [5, 5]),  # none above zero: each is the best
        (-2, -2, [-2], [5]),
    ],
)
def test_scale_expresses_ratings_in_stars(
    low: float, top: float, given_: list[float], stars: list[float]
) -> None:
    scale = RatingScale(*np.array([low, top], dtype=np.float32).tolist())
    assert scale.stars(np.array(given_, dtype=np.float32)).tolist() == stars


@given(st.floats(-100, 100, width=32), st.floats(0.5, 100, width=32), st.floats(0, 1, width=32))
def test_scale_keeps_order_and_tops_at_five(low: float, span: float, share: float) -> None:
    scale = RatingScale(low, low + span)
    if low < 0 or scale.top > 0:
        stars = scale.stars(np.array([low, low + share * span, scale.top], dtype=np.float32))
        assert np.all(np.diff(stars) >= -1e-4)
        assert stars[-1] == pytest.approx(TOP_STARS, abs=1e-4)


@given(st.integers(1, 10**4), st.sampled_from([1, 4, 10, 100]))
def test_seven_ninths_of_the_way_up_are_a_like_of_any_scale_that_goes_below_zero(
    step: int, parts: int
) -> None:
    """The lowest is -9 steps, the highest 9: 14 of the 18 between are seven ninths."""
    low, like, top = np.array([-9 * step, 5 * step, 9 * step], dtype=np.float32) / np.float32(parts)
    assert RatingScale(float(low), float(top)).stars(np.array([like])).tolist() == [LIKE_STARS]


@pytest.mark.parametrize(("low", "top"), [(2, 1), (np.nan, 1), (0, np.inf)])
def test_scale_refuses_a_range_without_ratings(low: float, top: float) -> None:
    with pytest.raises(DataError, match="finite low <= top"):
        RatingScale(low, top)


@pytest.mark.parametrize(
    ("low", "top", "floor"),
    [
        (1, 5, 0.5),
        (0.5, 5, 0.5),
        (0, 5, 0),
        (-1, 1, -1),
        (5, 5, 0.5),
        (1, 1, 0.1),
        (0, 0, 0),
        (-2, -2, -2),
    ],
)
def test_scale_accepts_half_a_star_though_nobody_gave_it(low: float, top: float, floor: float) -> None:
    assert RatingScale(low, top).floor == floor


@pytest.mark.parametrize(
    ("low", "top", "ends"),
    [
        (-9.99, 10, (-10, 10)),
        (-10, 9.99, (-10, 10)),
        (-10, 10, (-10, 10)),
        (-9, 10, (-9, 10)),
        (-1, 10, (-1, 10)),
        (0.5, 5, (0.5, 5)),
        (0, 0, (0, 0)),
        (-2, -2, (-2, -2)),
    ],
)
def test_a_scale_around_zero_reaches_as_far_down_as_up(
    low: float, top: float, ends: tuple[float, float]
) -> None:
    assert RatingScale.of(np.array([top, low], dtype=np.float32)) == RatingScale(*ends)


@pytest.mark.parametrize(("low", "top"), [(1, 10), (0, 1), (-1, 1), (5, 5), (1, 1), (0, 0), (-2, -2)])
def test_units_lead_back_from_the_stars_of_every_rating_that_is_accepted(low: float, top: float) -> None:
    scale = RatingScale(low, top)
    given_ = np.linspace(scale.floor, top, 5, dtype=np.float32)
    none, star = scale.units
    assert none + star * scale.stars(given_) == pytest.approx(given_, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"ratings": np.ones(4, dtype=np.float32)}, r"one length, got \[4, 5\]"),
        ({"timestamps": np.ones(4, dtype=np.int64)}, r"one length, got \[4, 5\]"),
        ({"ratings": np.array([1, 2, np.nan, 4, 5], dtype=np.float32)}, "finite"),
        ({"users": np.array([0, 1, 0, 2, 2], dtype=np.int32)}, "sorted by user"),
        ({"users": np.array([0, 0, 2, 2, 2], dtype=np.int32)}, "at least one rating"),
        ({"users": np.array([0, 0, 1, 1, 1], dtype=np.int32)}, "at least one rating"),
        ({"user_ids": ("a", "b", "a")}, "user ids must be distinct"),
        ({"items": np.array([0, 2, -1, 2, 0], dtype=np.int32)}, "rows of the catalogue, got -1"),
        ({"items": np.array([0, 0, 1, 2, 0], dtype=np.int32)}, "once, got a duplicate"),
    ],
)
def test_ratings_refuse_what_breaks_a_rule(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        ratings(**changes)


def test_ratings_refuse_to_be_empty() -> None:
    none = np.empty(0, dtype=np.int32)
    with pytest.raises(DataError, match="at least one rating, got none"):
        Ratings((), none, none, none.astype(np.float32), None)


def test_from_columns_sorts_by_user_then_time_then_file_order() -> None:
    table = Ratings.from_columns(
        ("a", "b"),
        np.array([1, 0, 1, 0, 0], dtype=np.int32),
        np.array([0, 1, 2, 3, 4], dtype=np.int32),
        np.array([1, 2, 3, 4, 5], dtype=np.float32),
        np.array([9, 5, 1, 2, 5], dtype=np.int64),
    )
    assert table.items.tolist() == [3, 1, 4, 2, 0]
    assert table.offsets.tolist() == [0, 3, 5]
    assert len(table) == 5


def test_from_columns_without_times_keeps_file_order() -> None:
    table = Ratings.from_columns(
        ("a", "b"),
        np.array([1, 0, 1], dtype=np.int32),
        np.array([5, 4, 3], dtype=np.int32),
        np.ones(3, dtype=np.float32),
        None,
    )
    assert (table.items.tolist(), table.timestamps) == ([4, 5, 3], None)


def test_take_keeps_the_flagged_rows_and_drops_users_without_any() -> None:
    part = ratings().take(np.array([1, 0, 0, 0, 1], dtype=np.bool_))
    assert part.user_ids == ("a", "c")
    assert (part.users.tolist(), part.items.tolist()) == ([0, 1], [0, 0])
    assert part.ratings.tolist() == [4, 3]
    assert part.timestamps is not None
    assert part.timestamps.tolist() == [10, 2]
    assert part.users.dtype == np.int32


def test_take_keeps_the_scale_of_the_whole() -> None:
    part = ratings().take(np.array([0, 0, 0, 1, 1], dtype=np.bool_))
    assert part.scale == RatingScale(1, 5)
    assert part.stars.tolist() == [2, 3]
    assert part.take(np.array([1, 0], dtype=np.bool_)).scale == RatingScale(1, 5)


def test_take_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one rating"):
        ratings().take(np.zeros(5, dtype=np.bool_))


def test_times_tell_an_order_where_someone_rated_twice_at_different_ones() -> None:
    assert ratings().tells_order
    assert not ratings(timestamps=None).tells_order
    each_at_once = np.array([3, 3, 2, 9, 9], dtype=np.int64)
    assert not ratings(timestamps=each_at_once).tells_order


def test_pair_codes_do_not_overflow_int32() -> None:
    top = np.array([2**31 - 2, 2**31 - 2], dtype=np.int32)
    codes = pair_codes(top, np.array([2**31 - 2, 0], dtype=np.int32), 2**31 - 1)
    assert codes.tolist() == [(2**31 - 2) * (2**31 - 1) + 2**31 - 2, (2**31 - 2) * (2**31 - 1)]
