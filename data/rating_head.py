"""Predicts how a user would rate items, beside the ranking and without touching it.

With e_j what the user gave to the j-th of the n items of the history, less what it gets from
everybody, and d the directions of the items (what they are like, whatever their popularity),

    stars of item i = usual_i + b + d_i q,    b = sum e_j / (n + damping)
                                              q = (n C + penalty)^-1 sum (e_j - b) d_j

b is the user's bias (Koren, 2009, eq. 1). q is ridge regression of what biases leave on the
directions, the user's half of alternating least squares, with a Gram matrix of n average
ratings instead of the history's own: its axes are known beforehand, so that no request has to
solve a system, and the inverse is the same for all who tell n. Who tells no ratings gets what
everybody does. Symbols: `N` items, `D` width.

Only NumPy is imported: the serving process predicts with this, and the trainer measures it.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.ratings import RatingScale
from deepmoviematch.data.weights import Weights

KIND = "bias and taste"

KEPT_INVERSES = 256
"""Sizes of histories whose matrix is kept at hand: 16 KiB each where vectors have 64 columns."""


class RatingHead:
    """Predicts ratings of the items of one catalogue."""

    def __init__(self, weights: Weights, directions: Floats, scale: RatingScale) -> None:
        """Take what a head learnt.

        Args:
            weights: The stars that items usually get, `usual` [N]; the orthonormal `axes` [D, D]
                of C, one a column, with their eigenvalues `spread` [D]; `damping` and `penalty`.
            directions: [N, D or more] unit vectors; further columns are not read.
            scale: Of the ratings.

        Raises:
            ValueError: If the weights are of another kind, catalogue or width.
        """
        arrays, settings = weights.arrays, weights.settings
        usual, axes, spread = arrays["usual"], arrays["axes"], arrays["spread"]
        self._damping, penalty = float(settings["damping"]), float(settings["penalty"])
        width = len(axes)
        if settings["kind"] != KIND:
            raise ValueError(f"a head must be of the kind {KIND!r}, got {settings['kind']!r}")
        if not (self._damping > 0 and penalty > 0 and (spread >= 0).all()):  # NaN is not either
            raise ValueError(
                f"a head must not divide by 0, got damping {self._damping:g}, penalty {penalty:g} "
                f"and a least spread of {spread.min():g}"
            )
        if usual.shape != (len(directions),) or spread.shape != (width,):
            raise ValueError(f"usual {usual.shape} for {len(directions)} items")
        if axes.shape != (width, width) or width > directions.shape[1]:
            raise ValueError(f"axes {axes.shape} for directions of {directions.shape[1]}")
        self._usual = np.ascontiguousarray(usual, dtype=np.float32).data  # a few are sooner had from a view
        self._directions = directions
        self._low, self._top = scale.low, scale.top
        self._none, self._star = scale.units
        whole = np.zeros((directions.shape[1], width), dtype=np.float32)
        whole[:width] = axes
        # Not a method: such a cycle would keep a generation in memory until garbage is collected.
        self._inverse = lru_cache(KEPT_INVERSES)(partial(_inverted, whole, spread, penalty))

    def predict(self, history: Mapping[int, float], rows: Sequence[int]) -> list[float]:
        """Ratings of the items in `rows`, in the units of the data and within their scale.

        Args:
            history: Catalogue row -> stars; their order makes no difference, not even to the last bit.
            rows: [K] rows of the catalogue.

        Returns:
            [K].
        """
        usual, size = self._usual, len(history)
        stars = [usual[row] for row in rows]
        if size:
            told = sorted(history)
            vectors = self._directions.take([*told, *rows], 0)
            left = [history[row] - usual[row] for row in told]
            bias = sum(left) / (size + self._damping)
            left = [error - bias for error in left]
            taste = self._inverse(size).dot(np.array(left, dtype=np.float32).dot(vectors[:size]))
            tastes = vectors[size:].dot(taste).tolist()
            stars = [each + bias + more for each, more in zip(stars, tastes, strict=True)]
        low, top, none, star = self._low, self._top, self._none, self._star
        ratings = [none + star * each for each in stars]
        return [low if each < low else top if each > top else each for each in ratings]


def _inverted(axes: Floats, spread: Floats, penalty: float, size: int) -> Floats:
    """[D, D] what multiplies with the sum over a history of `size` items."""
    inverse: Floats = axes / (size * spread + penalty) @ axes.T
    return inverse
