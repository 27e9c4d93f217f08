"""Moments by hand: the first of January 1970 was a Thursday."""

import numpy as np

from deepmoviematch.data.context import device_name, moments_of
from deepmoviematch.data.ratings import Ratings

HOUR, DAY = 3600, 86_400


def ratings(times: list[int] | None, devices: list[int] | None) -> Ratings:
    size = len(times or devices or ())
    return Ratings.from_columns(
        tuple(f"u{row}" for row in range(size)),
        np.arange(size, dtype=np.int32),
        np.zeros(size, dtype=np.int32),
        np.ones(size, dtype=np.float32),
        None if times is None else np.array(times, dtype=np.int64),
        devices=None if devices is None else np.array(devices, dtype=np.int32),
        device_names=("tv", "phone", "toaster"),
    )


def test_hours_and_weekdays_are_those_of_utc() -> None:
    # A Thursday at 0:00, the Sunday after it at 23:59:59, the Monday after that at 5:00.
    moments = moments_of(ratings([0, 4 * DAY - 1, 4 * DAY + 5 * HOUR], None), ())
    assert moments.tolist() == [[0, 3, -1], [23, 6, -1], [5, 0, -1]]


def test_devices_are_rows_of_the_names_that_count() -> None:
    moments = moments_of(ratings(None, [0, 1, 2, -1]), ("phone", "tv"))
    assert moments.tolist() == [[-1, -1, 1], [-1, -1, 0], [-1, -1, -1], [-1, -1, -1]]


def test_case_and_space_around_a_device_do_not_count() -> None:
    assert device_name(" Smart TV\t") == "smart tv"
