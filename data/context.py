"""The moments (`Context` in the contract) at which people rate and ask: hour, weekday, device.

A feature of a moment is a row of that feature's table in the user tower. Symbols: `R` ratings.

Only NumPy is imported: the serving process reads moments too.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from deepmoviematch.data.arrays import Ints
from deepmoviematch.data.ratings import Ratings

FEATURES = ("hour", "weekday", "device")
HOURS, WEEKDAYS = 24, 7

UNTOLD = -1
"""Stands for a feature that is not known of a moment."""

Moment: TypeAlias = Mapping[str, int]
"""Feature -> row of its table, for the features that are told."""

NO_MOMENT: Moment = MappingProxyType({})

_THURSDAY = 3
"""The first of January 1970, counted from Monday."""


def table_rows(devices: int) -> dict[str, int]:
    """How many rows each feature's table has, where so many devices are known."""
    return {"hour": HOURS, "weekday": WEEKDAYS, "device": devices}


def moments_of(ratings: Ratings, devices: Sequence[str]) -> Ints:
    """[R, 3] of each rating the hour, the weekday (0 is Monday) and the row in `devices`.

    What is not known is `UNTOLD`. Hour and weekday are those of UTC: the data do not say in which
    zone people live.
    """
    moments = np.full((len(ratings), len(FEATURES)), UNTOLD, dtype=np.int32)
    if ratings.timestamps is not None:
        moments[:, 0] = ratings.timestamps // 3600 % HOURS
        moments[:, 1] = (ratings.timestamps // 86_400 + _THURSDAY) % WEEKDAYS
    if ratings.devices is not None:
        row_of = {name: row for row, name in enumerate(devices)}
        rows = np.array(
            [*(row_of.get(name, UNTOLD) for name in ratings.device_names), UNTOLD], dtype=np.int32
        )
        moments[:, 2] = rows[ratings.devices]  # no device, -1, takes the last
    return moments


def device_name(text: str) -> str:
    """The device that `text` names: case and space around it do not count."""
    return text.strip().casefold()
