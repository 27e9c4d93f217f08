"""Predicts how a user would rate items, beside the ranking and without touching it.

With e_j what the user gave to the j-th of the n items of the history, less what it gets from
everybody, and d the directions of the items (what they are like, whatever their popularity),

    stars of item i = usual_i + b + d_i q,    b = sum e_j / (n + damping)
                                              q = (n C + penalty)^-1 sum (e_j - b) d_j

b is the user's bias (Koren, 2009, eq. 1). q is ridge regression of what biases leave on the
directions, the user's half of alternating least squares, with a Gram matrix of n average
ratings instead of the history's own: its axes are known beforehand, so that no request has to
solve a system. Who tells no ratings gets what everybody does. Symbols: `N` items, `D` width.

Only NumPy is imported: the serving process predicts with this, and the trainer measures it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from deepmoviematch.data.tables import Floats, RatingScale
from deepmoviematch.data.weights import Weights

KIND = "bias and taste"


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
        self._usual, axes, self._spread = arrays["usual"], arrays["axes"], arrays["spread"]
        self._damping, self._penalty = float(settings["damping"]), float(settings["penalty"])
        width = len(axes)
        safe = self._damping > 0 and self._penalty > 0 and (self._spread >= 0).all()  # NaN is not either
        if settings["kind"] != KIND or not safe:
            raise ValueError(f"a head of the kind {settings['kind']!r}, or one that divides by 0")
        if self._usual.shape != (len(directions),) or self._spread.shape != (width,):
            raise ValueError(f"usual {self._usual.shape} for {len(directions)} items")
        if axes.shape != (width, width) or width > directions.shape[1]:
            raise ValueError(f"axes {axes.shape} for directions of {directions.shape[1]}")
        self._directions, self._scale = directions, scale
        self._low, self._top = np.float32(scale.low), np.float32(scale.top)
        self._axes = np.zeros((directions.shape[1], width), dtype=np.float32)
        self._axes[:width] = axes

    def predict(self, history: Mapping[int, float], rows: Sequence[int]) -> list[float]:
        """Ratings of the items in `rows`, in the units of the data and within their scale.

        Args:
            history: Catalogue row -> stars.
            rows: [K] rows of the catalogue.

        Returns:
            [K].
        """
        stars = self._usual.take(rows)
        if history:
            known, size = [*history], len(history)
            left = np.array([*history.values()], dtype=np.float32)
            left -= self._usual.take(known)
            bias = np.add.reduce(left) / (size + self._damping)
            left -= bias
            taste = left.dot(self._directions.take(known, 0)).dot(self._axes)
            taste /= size * self._spread + self._penalty
            stars += self._directions.take(rows, 0).dot(self._axes.dot(taste))
            stars += bias
        ratings = self._scale.ratings(stars)
        np.maximum(ratings, self._low, out=ratings)
        np.minimum(ratings, self._top, out=ratings)
        predicted: list[float] = ratings.tolist()
        return predicted
