"""Ranking metrics on the full catalogue, and their intervals.

Ties are broken by row number, the way that the index does. Symbols: `B` users,
`N` items, `K` ranks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from deepmoviematch.data.tables import Flags, Floats
from deepmoviematch.trainer.evaluation.lists import Rows, list_figures, popularity_ranks

HEAD_SHARE = 0.2
"""The most popular share of a catalogue; the rest is its tail."""

Means: TypeAlias = npt.NDArray[np.float64]
Bands: TypeAlias = Mapping[str, Mapping[str, Flags]]


def top_rows(scores: Floats, k: int) -> Rows:
    """The k best columns of each row, best first; ties go to the lower column.

    Args:
        scores: [B, N]; -inf keeps an item out.
        k: At most N.

    Returns:
        [B, k] columns.
    """
    k = min(k, scores.shape[1])
    cut = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]  # [B, 1] the k-th best score
    chosen = scores >= cut
    tied = chosen.sum(axis=1) > k
    above, level = scores[tied] > cut[tied], scores[tied] == cut[tied]
    room = k - above.sum(axis=1, keepdims=True)
    chosen[tied] = above | (level & (np.cumsum(level, axis=1) <= room))
    columns = np.nonzero(chosen)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def ndcg(hits: Flags, targets: Rows, k: int) -> Floats:
    """Normalised discounted cumulative gain with gains of 0 or 1 (Jarvelin and Kekalainen, 2002).

    Args:
        hits: [B, K] whether the item at a rank is a target, K >= k or the whole catalogue.
        targets: [B] number of targets, at least 1.
        k: Ranks that count.

    Returns:
        [B] in 0..1.
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(targets, k) - 1]
    values: Floats = (hits[:, :k] @ discounts[: hits.shape[1]] / ideal).astype(np.float32)
    return values


def recall(hits: Flags, targets: Rows, k: int) -> Floats:
    """Share of the targets among the first k, of the most that k ranks can hold (Liang et al., 2018).

    Args:
        hits: [B, K], as in `ndcg`.
        targets: [B] number of targets, at least 1.
        k: Ranks that count.

    Returns:
        [B] in 0..1.
    """
    values: Floats = (hits[:, :k].sum(axis=1) / np.minimum(targets, k)).astype(np.float32)
    return values


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
    def of(cls, values: Floats, *, seed: int, persons: Rows | None = None) -> "Interval":
        """The mean of [n] values; `persons` [n] numbers whose they are, None for n different ones."""
        return cls.of_means(lambda one: one, (values,), seed=seed, persons=persons)

    @classmethod
    def of_ratio(
        cls, values: Floats, others: Floats, *, seed: int, persons: Rows | None = None
    ) -> "Interval":
        """The ratio of the means of two figures of the same users, who are resampled together."""
        return cls.of_means(np.divide, (values, others), seed=seed, persons=persons)

    @classmethod
    def of_difference(
        cls, values: Floats, others: Floats, *, seed: int, persons: Rows | None = None
    ) -> "Interval":
        """The difference of the means of two figures of the same users, who are resampled together."""
        return cls.of_means(np.subtract, (values, others), seed=seed, persons=persons)

    @classmethod
    def of_means(
        cls,
        figure: Callable[..., Means],
        columns: Sequence[Floats | Means],
        *,
        seed: int,
        persons: Rows | None = None,
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


def _resampled(sums: Means, *, seed: int, rounds: int = 1000) -> Means:
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


def hit(hits: Flags, _targets: Rows, k: int) -> Floats:
    """[B] 1 where any target is among the first k, else 0; `hits` as in `ndcg`."""
    values: Floats = hits[:, :k].max(axis=1, initial=False).astype(np.float32)
    return values


METRICS: dict[str, Callable[[Flags, Rows], Floats]] = {
    "ndcg@100": partial(ndcg, k=100),
    "ndcg@10": partial(ndcg, k=10),
    "recall@20": partial(recall, k=20),
    "recall@50": partial(recall, k=50),
    "hit@10": partial(hit, k=10),
}
"""Take hits and the number of targets; `auc` takes scores."""


def auc(scores: Floats, targets: Flags) -> Floats:
    """Chance that a target is scored above another item in the running; a tie counts half.

    Args:
        scores: [B, N]; -inf keeps an item out.
        targets: [B, N] in the running, at least one each.

    Returns:
        [B] in 0..1; 0.5 for a user for whom nothing but targets is in the running.
    """
    values = np.full(len(scores), 0.5, dtype=np.float32)
    for user, (line, wanted) in enumerate(zip(scores, targets, strict=True)):
        others = np.sort(line[~wanted & np.isfinite(line)])
        if len(others):
            below = np.searchsorted(others, line[wanted], side="left")
            up_to = np.searchsorted(others, line[wanted], side="right")
            values[user] = (below + up_to).mean() / (2 * len(others))
    return values


@dataclass(frozen=True, eq=False)
class RankingReport:
    """Metrics of every user, so that models can be compared user by user."""

    per_user: Mapping[str, Floats]
    """Metric name -> [U] values, NaN where a user has nothing to find."""

    lists: Mapping[str, float]
    """What the first ten of everyone are like as a whole (`lists.list_figures`)."""

    tops: Rows
    """[U, 10] the first ten rows of everyone, -1 where a list is shorter."""

    slices: Mapping[str, Mapping[str, Floats]]
    """What is sliced -> slice -> [U] values of one metric, NaN where nothing of a user is in it."""


class RankingMeter:
    """Collects metrics block by block of users."""

    RANKS = 100

    def __init__(
        self, genres: Flags, popularity: Floats, *, bands: Bands | None = None, sliced: str = ""
    ) -> None:
        """Measure rankings of a catalogue.

        Args:
            genres: [N, G] genre flags of the items.
            popularity: [N] share of the training users who liked each item.
            bands: What is sliced -> slice -> [N] flags of the targets that belong to it.
            sliced: The metric that is measured in every slice.
        """
        self._genres, self._popularity = genres, popularity
        self._tail = popularity_ranks(popularity) >= HEAD_SHARE * len(popularity)
        self._bands, self._sliced = bands or {}, sliced
        self._blocks: list[dict[str, Floats]] = []
        self._slices: list[dict[str, dict[str, Floats]]] = []
        self._tops: list[Rows] = []

    def add(self, scores: Floats, targets: Flags, *, with_auc: bool = False) -> None:
        """Measure a block by its scores.

        Args:
            scores: [B, N], -inf for items out of the running.
            targets: [B, N] what each user should be shown; at least one each.
            with_auc: Whether to measure the area under the curve too.
        """
        rows = top_rows(scores, self.RANKS)
        running = np.isfinite(np.take_along_axis(scores, rows, axis=1))
        self.add_lists(np.where(running, rows, -1), targets, scores=scores if with_auc else None)

    def add_lists(self, rows: Rows, targets: Flags, *, scores: Floats | None = None) -> None:
        """Measure a block by its ranked lists.

        Args:
            rows: [B, K] rows of the catalogue, best first; -1 where there is none.
            targets: [B, N] what each user should be shown; at least one each.
            scores: [B, N] as in `add`, to measure the area under the curve with.
        """
        names = [*METRICS, *(["auc"] if scores is not None else [])]

        def measured(name: str, wanted: Flags) -> Floats:
            """[B] figures of the flagged targets alone, NaN for users without any."""
            values = np.full(len(rows), np.nan, dtype=np.float32)
            some = wanted.any(axis=1)
            wanted, best = wanted[some], rows[some]
            if name == "auc" and scores is not None:
                values[some] = auc(np.where(targets[some] & ~wanted, -np.inf, scores[some]), wanted)
            else:
                hits = np.take_along_axis(wanted, best, axis=1) & (best >= 0)
                values[some] = METRICS[name](hits, wanted.sum(axis=1))
            return values

        figures = {name: measured(name, targets) for name in names}
        self._blocks.append(figures | {"tail recall@50": measured("recall@50", targets & self._tail)})
        self._slices.append(
            {
                kind: {label: measured(self._sliced, targets & band) for label, band in bands.items()}
                for kind, bands in self._bands.items()
            }
        )
        tops = np.full((len(rows), 10), -1, dtype=np.int64)
        tops[:, : rows.shape[1]] = rows[:, :10]
        self._tops.append(tops)

    def report(self) -> RankingReport:
        """What was measured so far."""
        tops = np.concatenate(self._tops)
        return RankingReport(
            per_user={
                name: np.concatenate([block[name] for block in self._blocks]) for name in self._blocks[0]
            },
            lists=list_figures(tops, self._genres, self._popularity),
            tops=tops,
            slices={
                kind: {
                    label: np.concatenate([block[kind][label] for block in self._slices]) for label in bands
                }
                for kind, bands in self._bands.items()
            },
        )
