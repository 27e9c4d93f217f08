"""What the moment adds to a taste: tables over hour, weekday and device.

Symbols: `B` users, `D` width of a taste, without the axis for the items' norm.
"""

import numpy as np

from deepmoviematch.data.arrays import Floats, Ints
from deepmoviematch.data.context import FEATURES, Moment, table_rows
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.towers.mlp import unit

PREFIX = "moment_"
"""Begins the names of the tables among a tower's arrays."""


class Moments:
    """The tables of a tower, of those features that its data could teach.

    A user who asks at some moment has the taste

        unit(taste + the sum of the moment's rows)

    and one who tells nothing that the tables know has the taste as it was.
    """

    def __init__(self, weights: Weights, width: int) -> None:
        """Take the tables `moment_hour` [24, D], `moment_weekday` [7, D] and `moment_device` [devices, D].

        Any may be missing. The names of the devices are the setting `devices`.

        Raises:
            ValueError: If a table has another shape than [rows, `width`].
        """
        self._device_rows = {name: row for row, name in enumerate(weights.settings.get("devices", ()))}
        sizes = table_rows(len(self._device_rows))
        arrays = weights.arrays
        self._tables = {name: arrays[PREFIX + name] for name in FEATURES if PREFIX + name in arrays}
        for name, table in self._tables.items():
            if table.shape != (sizes[name], width):
                raise ValueError(f"{PREFIX}{name} must be {sizes[name]} x {width}, got {table.shape}")

    @property
    def features(self) -> tuple[str, ...]:
        """Which of `FEATURES` are read."""
        return tuple(self._tables)

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that are known, in lower case; none where they are not read."""
        return tuple(self._device_rows)

    def moment(self, *, hour: int | None, weekday: int | None, device: str) -> dict[str, int]:
        """What the tables know of a moment: feature -> row.

        Args:
            hour: 0 to 23, or None if not told.
            weekday: 0 (Monday) to 6, or None if not told.
            device: In lower case; empty if not told.
        """
        rows = {"hour": hour, "weekday": weekday, "device": self._device_rows.get(device)}
        return {name: row for name in self._tables if (row := rows[name]) is not None}

    def rows(self, moment: Moment) -> Floats:
        """[features of `moment`, D] what each adds, in its order."""
        return np.stack([self._tables[name][row] for name, row in moment.items()])

    def moved(self, tastes: Floats, moments: Ints) -> Floats:
        """Unit `tastes` [B, D] at `moments` [B, 3] (`FEATURES`); those who tell nothing stay as they are."""
        added = np.zeros_like(tastes)
        told = np.zeros(len(tastes), dtype=np.bool_)
        for name, table in self._tables.items():
            rows = moments[:, FEATURES.index(name)]
            known = rows >= 0
            added[known] += table[rows[known]]
            told |= known
        return np.where(told[:, None], unit(tastes + added), tastes)
