"""The rating head, by hand and beside the ridge regression that it is."""

import gc
import weakref
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.rating_head import KIND, RatingHead
from deepmoviematch.data.ratings import RatingScale
from deepmoviematch.data.weights import Weights

STARS = RatingScale(0.5, 5.0)
DIRECTIONS = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], dtype=np.float32)
USUAL = [3.0, 4.0, 3.5, 2.0]


def head(scale: RatingScale = STARS, directions: Floats = DIRECTIONS, **changes: Any) -> RatingHead:
    """Four items; two axes of spread .5 and 0; damping 1, penalty 1."""
    settings = {"kind": KIND, "damping": 1.0, "penalty": 1.0}
    arrays = {"usual": USUAL, "axes": np.eye(2), "spread": [0.5, 0.0]}
    return RatingHead(
        Weights(
            {name: changes.get(name, value) for name, value in settings.items()},
            {name: np.array(changes.get(name, value), np.float32) for name, value in arrays.items()},
        ),
        directions,
        scale,
    )


def test_who_tells_nothing_gets_what_everybody_does() -> None:
    assert head().predict({}, [3, 0]) == [2.0, 3.0]


def test_a_rating_raises_the_user_and_what_is_like_the_item() -> None:
    """Item 0 got 5 where 3 is usual: bias 2 / (1 + 1) = 1; the 1 that is left over 1 * .5 + 1 is 2 / 3."""
    found = head().predict({0: 5.0}, [3, 1])
    assert found == pytest.approx([2 + 1 + 2 / 3, 5.0])  # item 1 is as unlike as can be: 4 + 1


def test_ratings_keep_within_the_scale_and_come_in_its_units() -> None:
    assert head().predict({0: 5.0, 3: 5.0}, [0]) == [5.0]
    assert head(RatingScale(1.0, 10.0)).predict({}, [0, 3]) == [6.0, 4.0]
    assert head(RatingScale(2.5, 5.0)).predict({}, [3]) == [2.5]


def test_its_memory_is_free_as_soon_as_nobody_needs_it() -> None:
    gc.disable()
    try:
        it = head()
        it.predict({0: 5.0}, [1])
        gone = weakref.ref(it)
        del it
        assert gone() is None
    finally:
        gc.enable()


def test_directions_may_be_wider_than_the_axes() -> None:
    wider = np.pad(DIRECTIONS, ((0, 0), (0, 1)), constant_values=9)
    history = {0: 5.0, 2: 1.0}
    assert head(directions=wider).predict(history, [1, 3]) == pytest.approx(head().predict(history, [1, 3]))


@given(
    history=st.dictionaries(st.integers(0, 9), st.floats(0.5, 5, width=32), min_size=1),
    seed=st.integers(0, 99),
)
def test_it_is_ridge_regression_on_as_many_average_ratings(history: dict[int, float], seed: int) -> None:
    """The oracle solves the system that the axes spare a request."""
    rng = np.random.default_rng(seed)
    directions, usual = rng.normal(size=(10, 3)), rng.uniform(2, 4, 10)
    gram = directions.T @ directions / 10
    spread, axes = np.linalg.eigh(gram)
    made = head(directions=directions.astype(np.float32), usual=usual, axes=axes, spread=spread, penalty=2.0)
    rows = [*history]
    left = np.array([*history.values()]) - usual[rows]
    bias = left.sum() / (len(rows) + 1)
    taste = np.linalg.solve(len(rows) * gram + 2 * np.eye(3), (left - bias) @ directions[rows])
    expected = np.clip(usual + bias + directions @ taste, 0.5, 5)
    assert made.predict(history, range(10)) == pytest.approx(expected.tolist(), abs=1e-3)


@given(
    history=st.dictionaries(st.integers(0, 9), st.floats(0.5, 5, width=32), min_size=1),
    random=st.randoms(use_true_random=False),
)
def test_a_history_in_another_order_gets_the_same_ratings_to_the_bit(
    history: dict[int, float], random: Random
) -> None:
    rng = np.random.default_rng(0)
    directions, usual = rng.normal(size=(10, 2)).astype(np.float32), rng.uniform(2, 4, 10)
    entries = list(history.items())
    random.shuffle(entries)
    made = head(RatingScale(-9.0, 9.0), directions, usual=usual)
    assert made.predict(dict(entries), range(10)) == made.predict(history, range(10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "other"}, "must be of the kind 'bias and taste', got 'other'"),
        ({"penalty": 0.0}, "must not divide by 0, got damping 1, penalty 0 and a least spread of 0"),
        ({"penalty": float("nan")}, "penalty nan"),
        ({"usual": [3.0]}, "usual"),
        ({"axes": np.eye(3)}, "usual"),
        ({"spread": [-0.5, 0.0]}, "a least spread of -0.5"),
    ],
    ids=["kind", "penalty", "no number", "items", "width", "spread"],
)
def test_weights_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(**changes)
