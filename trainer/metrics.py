"""Ranking metrics on the full catalogue, and their intervals.

Ties are broken by row number, the way that the index does. Symbols: `B` users,
`N` items, `K` ranks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from deepmoviematch.data.tables import Flags, Floats

HEAD_SHARE = 0.2
"""The most popular share of a catalogue; the rest is its tail."""

Rows: TypeAlias = npt.NDArray[np.int64]


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
    above = scores > cut
    room = k - above.sum(axis=1, keepdims=True)
    level = scores == cut
    chosen = above | (level & (np.cumsum(level, axis=1) <= room))
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
    """A mean over users with a 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Floats, *, seed: int, rounds: int = 1000) -> "Interval":
        """Resample the users `rounds` times (percentile bootstrap; Efron, 1979); NaN values are left out."""
        values = values[np.isfinite(values)]
        if len(values) == 0:
            return cls(mean=float("nan"), low=float("nan"), high=float("nan"))
        means = _resampled(values, seed=seed, rounds=rounds) / len(values)
        low, high = np.quantile(means, [0.025, 0.975])
        return cls(mean=float(values.mean(dtype=np.float64)), low=float(low), high=float(high))

    @classmethod
    def of_ratio(cls, values: Floats, others: Floats, *, seed: int, rounds: int = 1000) -> "Interval":
        """The ratio of the means of two figures of the same users, who are resampled together."""
        above, below = (_resampled(side, seed=seed, rounds=rounds) for side in (values, others))
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = np.quantile(above / below, [0.025, 0.975])
            mean = values.sum(dtype=np.float64) / others.sum(dtype=np.float64)
        return cls(mean=float(mean), low=float(low), high=float(high))


def _resampled(values: Floats, *, seed: int, rounds: int) -> npt.NDArray[np.float64]:
    """[rounds] sums over users drawn with replacement, the same users for the same seed."""
    rng = np.random.default_rng(seed)
    sums = np.empty(rounds)
    for i in range(rounds):  # one at a time: [rounds, users] counts would not fit for many users
        sums[i] = values[rng.integers(len(values), size=len(values))].sum(dtype=np.float64)
    return sums


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
    """Metric name -> [U] values."""

    lists: Mapping[str, float]
    """What the first ten of everyone are like as a whole (`list_figures`)."""


class RankingMeter:
    """Collects metrics block by block of users."""

    RANKS = 100

    def __init__(self, genres: Flags, popularity: Floats) -> None:
        """Measure rankings of a catalogue.

        Args:
            genres: [N, G] genre flags of the items.
            popularity: [N] share of the training users who liked each item.
        """
        self._genres, self._popularity = genres, popularity
        ranks = np.argsort(np.argsort(-popularity, kind="stable"), kind="stable")
        self._tail = ranks >= HEAD_SHARE * len(popularity)
        self._blocks: list[dict[str, Floats]] = []
        self._tops: list[Rows] = []

    def add(self, scores: Floats, targets: Flags, *, with_auc: bool = False) -> None:
        """Measure a block.

        Args:
            scores: [B, N], -inf for items out of the running.
            targets: [B, N] what each user should be shown; at least one each.
            with_auc: Whether to measure the area under the curve too.
        """
        rows = top_rows(scores, self.RANKS)
        running = np.isfinite(np.take_along_axis(scores, rows, axis=1))
        hits = np.take_along_axis(targets, rows, axis=1) & running
        wanted = targets.sum(axis=1)
        tail_hits, tail_wanted = hits & self._tail[rows], (targets & self._tail).sum(axis=1)
        in_tail: Floats = recall(tail_hits, np.maximum(tail_wanted, 1), 50)
        in_tail[tail_wanted == 0] = np.nan  # nothing to find there
        figures: dict[str, Floats] = {
            "ndcg@100": ndcg(hits, wanted, 100),
            "ndcg@10": ndcg(hits, wanted, 10),
            "recall@20": recall(hits, wanted, 20),
            "recall@50": recall(hits, wanted, 50),
            "hit@10": hits[:, :10].max(axis=1, initial=False).astype(np.float32),
            "tail recall@50": in_tail,
        }
        if with_auc:
            figures["auc"] = auc(scores, targets)
        self._blocks.append(figures)
        self._tops.append(np.where(running, rows, -1)[:, :10])

    def report(self) -> RankingReport:
        """What was measured so far."""
        names = self._blocks[0]
        return RankingReport(
            per_user={name: np.concatenate([block[name] for block in self._blocks]) for name in names},
            lists=list_figures(np.concatenate(self._tops), self._genres, self._popularity),
        )


def list_figures(tops: Rows, genres: Flags, popularity: Floats) -> dict[str, float]:
    """What everyone's first ten are like as a whole.

    Args:
        tops: [U, 10] rows of the catalogue, -1 where a list is shorter.
        genres: [N, G] genre flags.
        popularity: [N] share of the training users who liked each item.

    Returns:
        "coverage@10", the share of the catalogue in someone's list; "overlap@10", the
        mean share of a list that another user's has too (1: the same list for
        everyone); "novelty@10", the mean surprise -log2 p of an item that a share p of
        the training users liked; "diversity@10", the mean distance (1 - Jaccard) of
        the genres of two items of a list.
    """
    shown = tops[tops >= 0]
    counts = np.bincount(shown, minlength=len(popularity)).astype(np.float64)
    users = len(tops)
    pairs = float(np.sum(counts * (counts - 1))) / max(users * (users - 1), 1)
    surprise = -np.log2(np.maximum(popularity[shown], 1 / (2 * max(users, 1_000))))
    return {
        "coverage@10": float((counts > 0).mean()),
        "overlap@10": pairs / max(len(shown) / users, 1),
        "novelty@10": float(surprise.mean()),
        "diversity@10": float(np.mean([_diversity(genres[line[line >= 0]]) for line in tops])),
    }


def _diversity(genres: Flags) -> float:
    """Mean 1 - Jaccard over the pairs of [K, G] genre flags; items without genres are alike."""
    flags = genres.astype(np.float64)
    both = flags @ flags.T
    either = flags.sum(axis=1)[:, None] + flags.sum(axis=1)[None] - both
    distances = 1 - np.where(either > 0, both / np.maximum(either, 1), 1)
    pairs = len(genres) * (len(genres) - 1)
    return float(distances.sum() / pairs) if pairs else 0.0
