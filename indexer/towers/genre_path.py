"""The line that `attribution` follows through the seed recipe's user tower.

Symbols: `S` points on a line, `K` items, `H` interactions, `G` genres.
"""

from collections.abc import Mapping

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats
from deepmoviematch.indexer.towers.gradients import Passing, backward, forward, unit_backward
from deepmoviematch.indexer.towers.mlp import Mlp, unit


class GenrePath:
    """From a user of whom nothing is known to one user; the inputs are the stars of each genre.

    What a stated preference does is its own. The average of a genre that was not stated
    belongs to the items that it is the average of, to each by its share of their stars.
    """

    def __init__(
        self,
        preferences: Mapping[int, float],
        history: Mapping[int, float],
        *,
        mlp: Mlp,
        mean: Floats,
        scale: Floats,
        genres: Flags,
    ) -> None:
        """Prepare the line to a user (genre column -> stars, catalogue row -> stars).

        Args:
            preferences: Stated.
            history: Its order does not matter.
            mlp: The tower.
            mean: [G] of the stars that it was trained on.
            scale: [G] of these.
            genres: [N, G] flags of the catalogue.
        """
        self._mlp, self._mean, self._scale = mlp, mean, scale
        self._stated = list(preferences)
        flags = genres[list(history)].astype(np.float32)  # [H, G]
        flags[:, self._stated] = 0
        stars = flags * np.fromiter(history.values(), np.float32, len(history))[:, None]
        totals: Floats = stars.sum(axis=0)
        self._owned = np.divide(stars, totals, out=np.zeros_like(stars), where=totals > 0)
        self.start = np.zeros_like(mean)
        self.end: Floats = totals / np.maximum(flags.sum(axis=0), 1)
        self.end[self._stated] = list(preferences.values())

    def vectors(self, inputs: Floats) -> Floats:
        """See `Path.vectors`."""
        return unit(self._forward(inputs)[0])

    def gradients(self, inputs: Floats, items: Floats) -> Floats:
        """See `Path.gradients`."""
        vectors, passing = self._forward(inputs)
        wanted = unit_backward(vectors, np.broadcast_to(items, (len(vectors), *items.shape)))
        return backward(self._mlp, passing, wanted) / self._scale

    def shares(self, integrals: Floats) -> tuple[Floats, Floats, Floats]:
        """See `Path.shares`; the moment is not read."""
        parts = integrals * (self.end - self.start)
        return parts @ self._owned.T, parts[:, self._stated], parts[:, :0]

    def _forward(self, inputs: Floats) -> tuple[Floats, Passing]:
        return forward(self._mlp, (inputs - self._mean) / self._scale)
