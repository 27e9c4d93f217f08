"""How sure a figure is: the interval that it has over users drawn again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deepmoviematch.data.arrays import Doubles, Flags, Floats, Longs


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval over users (percentile bootstrap; Efron, 1979).

    A figure is a mean of values, or what two means make together. A value of NaN is left
    out. Where the same person was asked several times, name the persons: they are
    resampled whole.
    """

    mean: float
    low: float
    high: float

    @property
    def root(self) -> "Interval":
        """That of the square root of a figure above 0, given that of the figure."""
        return Interval(*(float(np.sqrt(bound)) for bound in (self.mean, self.low, self.high)))

    @classmethod
    def of(cls, values: Floats, *, seed: int, persons: Longs | None = None) -> "Interval":
        """The mean of [n] values; `persons` [n] numbers whose they are, None for n different ones."""
        return cls.of_means(lambda one: one, (values,), seed=seed, persons=persons)

    @classmethod
    def of_ratio(
        cls, values: Floats, others: Floats, *, seed: int, persons: Longs | None = None
    ) -> "Interval":
        """The ratio of the means of two figures of the same users, who are resampled together."""
        return cls.of_means(np.divide, (values, others), seed=seed, persons=persons)

    @classmethod
    def of_difference(
        cls, values: Floats, others: Floats, *, seed: int, persons: Longs | None = None
    ) -> "Interval":
        """The difference of the means of two figures of the same users, who are resampled together."""
        return cls.of_means(np.subtract, (values, others), seed=seed, persons=persons)

    @classmethod
    def of_means(
        cls,
        figure: Callable[..., Doubles],
        columns: Sequence[Floats | Doubles],
        *,
        seed: int,
        persons: Longs | None = None,
    ) -> "Interval":
        """What `figure` makes of the means of several columns [n] of the same users."""
        known: Flags = np.all(np.isfinite(columns), axis=0)
        owners = (np.arange(len(known)) if persons is None else persons)[known]
        if len(owners) == 0:
            return cls(mean=np.nan, low=np.nan, high=np.nan)
        owners = np.unique(owners, return_inverse=True)[1]
        # [1 + columns, persons] how many values each person has, and the sum of each column's
        sums = np.stack(
            [np.bincount(owners), *(np.bincount(owners, column[known]) for column in columns)]
        ).astype(np.float64)
        totals = np.column_stack([sums.sum(axis=1), _resampled(sums, seed=seed)])
        with np.errstate(divide="ignore", invalid="ignore"):
            mean, *drawn = figure(*(totals[1:] / totals[0]))
            low, high = np.quantile(drawn, [0.025, 0.975])
        return cls(mean=float(mean), low=float(low), high=float(high))


def _resampled(sums: Doubles, *, seed: int, rounds: int = 1000) -> Doubles:
    """[columns, rounds] totals of [columns, n] sums over n persons drawn with replacement.

    The same persons are drawn for the same seed and n.
    """
    rng = np.random.default_rng(seed)
    persons = sums.shape[1]
    most = max(1, 2**20 // persons)  # [rounds, persons] counts would not fit for many persons
    totals = []
    for first in range(0, rounds, most):
        some = min(most, rounds - first)
        drawn = rng.integers(persons, size=(some, persons)) + persons * np.arange(some)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=some * persons).reshape(some, persons)
        totals.append(sums @ counts.T.astype(np.float64))
    return np.concatenate(totals, axis=1)
