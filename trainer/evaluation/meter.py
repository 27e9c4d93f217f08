"""Collects metrics of rankings. Symbols: `B` users of a block, `U` of all blocks, `N` items, `K` ranks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats, Longs
from deepmoviematch.trainer.evaluation.lists import list_figures, popularity_ranks
from deepmoviematch.trainer.evaluation.metrics import METRICS, auc, top_rows

HEAD_SHARE = 0.2
"""The most popular share of a catalogue; the rest is its tail."""

Bands: TypeAlias = Mapping[str, Mapping[str, Flags]]
"""What is sliced -> slice -> [N] flags of the targets that belong to it."""


@dataclass(frozen=True, eq=False)
class RankingReport:
    """Metrics of every user, so that models can be compared user by user."""

    per_user: Mapping[str, Floats]
    """Metric name -> [U] values, NaN where a user has nothing to find."""

    lists: Mapping[str, float]
    """What the first ten of everyone are like as a whole (`lists.list_figures`)."""

    tops: Longs
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
        self._tops: list[Longs] = []

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

    def add_lists(self, rows: Longs, targets: Flags, *, scores: Floats | None = None) -> None:
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
