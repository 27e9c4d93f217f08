"""Ranking metrics on the full catalogue, and their intervals.

Ties are broken by row number, the way that the index does. Symbols: `B` users,
`N` items, `K` ranks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepmoviematch.data.tables import Flags, Floats


def top_rows(scores: Floats, k: int) -> npt.NDArray[np.int64]:
    """The k best columns of each row, best first; ties go to the lower column.

    Args:
        scores: [B, N]; -inf keeps an item out.
        k: At most N.

    Returns:
        [B, k] columns.
    """
    k = min(k, scores.shape[1])
    cut = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]  # [B, 1] the k-th best score
    above = scores > cut
    room = k - above.sum(axis=1, keepdims=True)
    level = scores == cut
    chosen = above | (level & (np.cumsum(level, axis=1) <= room))
    columns = np.nonzero(chosen)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def ndcg(hits: Flags, targets: npt.NDArray[np.int64], k: int) -> Floats:
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


def recall(hits: Flags, targets: npt.NDArray[np.int64], k: int) -> Floats:
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
    """A mean over users with a 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Floats, *, seed: int, rounds: int = 1000) -> "Interval":
        """Resample the users `rounds` times (percentile bootstrap; Efron, 1979)."""
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=rounds)
        means = counts @ values.astype(np.float64) / len(values)
        low, high = np.quantile(means, [0.025, 0.975])
        return cls(mean=float(values.mean(dtype=np.float64)), low=float(low), high=float(high))


@dataclass(frozen=True, eq=False)
class RankingReport:
    """Metrics of every user, so that models can be compared user by user."""

    per_user: Mapping[str, Floats]
    """Metric name -> [U] values."""

    coverage: float
    """Share of the catalogue that appears in someone's first ten."""

    def summary(self, *, seed: int) -> dict[str, Interval]:
        """Metric name -> mean and interval over users."""
        return {name: Interval.of(values, seed=seed) for name, values in self.per_user.items()}


class RankingMeter:
    """Collects metrics block by block of users."""

    RANKS = 100

    def __init__(self, items: int) -> None:
        """Measure rankings of a catalogue of `items`."""
        self._shown = np.zeros(items, dtype=np.bool_)
        self._blocks: list[dict[str, Floats]] = []

    def add(self, scores: Floats, targets: Flags) -> None:
        """Measure a block.

        Args:
            scores: [B, N], -inf for items out of the running.
            targets: [B, N] what each user should be shown; at least one each.
        """
        rows = top_rows(scores, self.RANKS)
        hits = np.take_along_axis(targets, rows, axis=1) & np.isfinite(
            np.take_along_axis(scores, rows, axis=1)
        )
        wanted = targets.sum(axis=1)
        self._shown[rows[:, :10]] = True
        self._blocks.append(
            {
                "ndcg@100": ndcg(hits, wanted, 100),
                "ndcg@10": ndcg(hits, wanted, 10),
                "recall@20": recall(hits, wanted, 20),
                "recall@50": recall(hits, wanted, 50),
            }
        )

    def report(self) -> RankingReport:
        """What was measured so far."""
        names = self._blocks[0]
        return RankingReport(
            per_user={name: np.concatenate([block[name] for block in self._blocks]) for name in names},
            coverage=float(self._shown.mean()),
        )
