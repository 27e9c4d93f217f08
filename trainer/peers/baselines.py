"""Rating predictors that a rating model has to beat. Symbols: `R` rows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepmoviematch.data.arrays import Doubles, Floats, Longs

DAMPINGS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
SWEEPS = 20


@dataclass(frozen=True, eq=False)
class RatingRows:
    """Who rated what how: dense codes of users and items, and the rating."""

    users: Longs
    """[R]"""

    items: Longs
    """[R]"""

    ratings: Floats
    """[R]"""

    @classmethod
    def of_ids(cls, user_ids: tuple[str, ...], item_ids: tuple[str, ...], ratings: Floats) -> "RatingRows":
        """Rows of external ids, which are numbered in sorted order."""
        users, items = (np.unique(ids, return_inverse=True)[1] for ids in (user_ids, item_ids))
        return cls(users=users, items=items, ratings=ratings)

    def take(self, rows: Longs) -> "RatingRows":
        """Some of the rows, with the same codes."""
        return RatingRows(users=self.users[rows], items=self.items[rows], ratings=self.ratings[rows])


Predictor = Callable[[RatingRows], Floats]


def global_mean(train: RatingRows) -> Predictor:
    """Predict the mean of the training ratings for everything."""
    mean = train.ratings.mean()
    return lambda rows: np.full(len(rows.ratings), mean, dtype=np.float32)


def user_mean(train: RatingRows) -> Predictor:
    """Predict each user's mean; the global mean for a user without training ratings."""
    means = _means(train.users, train.ratings)
    return lambda rows: _looked_up(means, rows.users, train.ratings.mean())


def item_mean(train: RatingRows) -> Predictor:
    """Predict each item's mean; the global mean for an item without training ratings."""
    means = _means(train.items, train.ratings)
    return lambda rows: _looked_up(means, rows.items, train.ratings.mean())


def bias_model(train: RatingRows, *, seed: int) -> Predictor:
    """Predict mean + user bias + item bias (Koren, 2009, eq. 1), damped as a tenth of the rows likes best."""
    error = held_out_error(train, seed)
    return _biases(train, min(DAMPINGS, key=lambda damping: error(lambda rows: _biases(rows, damping))))


def held_out_error(train: RatingRows, seed: int) -> Callable[[Callable[[RatingRows], Predictor]], float]:
    """Measures ways to fit: the mean squared error on a tenth of the rows, fitted on the others."""
    order = np.random.default_rng(seed).permutation(len(train.ratings))
    cut = max(1, len(order) // 10)
    held, rest = train.take(order[:cut]), train.take(order[cut:])

    def error(fit: Callable[[RatingRows], Predictor]) -> float:
        return float(np.mean((fit(rest)(held) - held.ratings) ** 2)) if len(order) > cut else 0.0

    return error


def biases(train: RatingRows, damping: float) -> tuple[float, Doubles, Doubles]:
    """The mean, and damped biases of users and items by code: each what the other side leaves unexplained."""
    mean = float(train.ratings.mean())
    users, items = np.zeros(train.users.max() + 1), np.zeros(train.items.max() + 1)
    for _ in range(SWEEPS):
        users = _damped(train.users, train.ratings - mean - items[train.items], damping, len(users))
        items = _damped(train.items, train.ratings - mean - users[train.users], damping, len(items))
    return mean, users, items


def _biases(train: RatingRows, damping: float) -> Predictor:
    mean, users, items = biases(train, damping)

    def predict(rows: RatingRows) -> Floats:
        known = _looked_up(users, rows.users, 0.0) + _looked_up(items, rows.items, 0.0)
        clipped: Floats = np.clip(mean + known, train.ratings.min(), train.ratings.max()).astype(np.float32)
        return clipped

    return predict


def _damped(codes: Longs, values: npt.NDArray[np.floating], damping: float, size: int) -> Doubles:
    totals = np.bincount(codes, weights=values, minlength=size)
    means: Doubles = totals / np.maximum(np.bincount(codes, minlength=size) + damping, 1e-9)
    return means


def _means(codes: Longs, values: Floats) -> Doubles:
    counts = np.bincount(codes)
    with np.errstate(invalid="ignore"):
        means: Doubles = np.bincount(codes, weights=values) / counts
    return means


def _looked_up(values: Doubles, codes: Longs, otherwise: float) -> Floats:
    """`values[codes]`, and `otherwise` for a code that was not seen in training."""
    seen = codes < len(values)
    found = np.where(seen, values[np.where(seen, codes, 0)], np.nan)
    return np.where(np.isnan(found), otherwise, found).astype(np.float32)
