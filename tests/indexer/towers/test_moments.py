"""What is told of a moment moves the taste, and what is not told leaves it as it is."""

import numpy as np
import pytest

from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.towers.moments import Moments

TASTES = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)


def tables(**arrays: np.ndarray) -> Moments:
    devices = {"devices": ["tv", "phone"]} if "moment_device" in arrays else {}
    return Moments(
        Weights(devices, {name: array.astype(np.float32) for name, array in arrays.items()}), width=2
    )


def test_each_feature_adds_its_row_and_the_length_stays_1() -> None:
    moments = tables(moment_hour=np.repeat([[3, 4]], 24, axis=0), moment_device=np.array([[0, -5], [-3, -3]]))
    assert moments.features == ("hour", "device")
    told = np.array([[7, 2, -1], [-1, -1, 0], [23, -1, 1]], dtype=np.int32)
    moved = moments.moved(TASTES, told)
    assert moved[0] == pytest.approx(np.array([4, 4]) / np.sqrt(32))
    assert moved[1] == pytest.approx([0, -1])
    assert moved[2] == pytest.approx(np.array([0.6, 1.8]) / np.sqrt(0.36 + 3.24))
    assert moments.rows({"device": 1, "hour": 0}).tolist() == [[-3, -3], [3, 4]]


def test_who_tells_nothing_that_is_read_stays_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    tastes = rng.normal(size=(50, 2)).astype(np.float32)
    tastes /= np.linalg.norm(tastes, axis=1, keepdims=True)
    moments = tables(moment_weekday=np.ones((7, 2)))
    told = np.tile(np.array([12, -1, 1], dtype=np.int32), (50, 1))
    assert (moments.moved(tastes, told) == tastes).all()


def test_a_moment_is_what_the_tables_know_of_it() -> None:
    moments = tables(moment_weekday=np.ones((7, 2)), moment_device=np.ones((2, 2)))
    assert moments.moment(hour=3, weekday=0, device="phone") == {"weekday": 0, "device": 1}
    assert moments.moment(hour=3, weekday=None, device="toaster") == {}
    assert tables().moment(hour=3, weekday=3, device="tv") == {}


@pytest.mark.parametrize(
    "arrays",
    [
        {"moment_hour": np.ones((23, 2))},
        {"moment_device": np.ones((3, 2))},
        {"moment_weekday": np.ones((7, 3))},
    ],
    ids=["an hour is missing", "a device without a name", "of another width"],
)
def test_tables_of_another_shape_are_refused(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arrays))} must be"):
        tables(**arrays)
