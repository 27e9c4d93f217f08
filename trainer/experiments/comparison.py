"""Puts models that answered the same users side by side: pooled figures, ratios, differences, slices."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats
from deepmoviematch.trainer.evaluation.bootstrap import Interval
from deepmoviematch.trainer.evaluation.meter import RankingReport
from deepmoviematch.trainer.evaluation.protocols import Trial
from deepmoviematch.trainer.evaluation.ranking import history_bands
from deepmoviematch.trainer.experiments.table import Table


@dataclass(frozen=True, eq=False)
class Measured:
    """One model on one split of a protocol."""

    report: RankingReport

    fit_s: float | None = None
    """What one fit took; None where nothing was fitted."""

    parameters: tuple[float, ...] = ()
    """What a search found."""

    tuning_s: float = 0.0
    """What the search took, for all the protocols that it served."""

    settled: Mapping[str, float] = field(default_factory=dict)
    """What the data chose of a recipe, where they may (`RetrievalRecipe.chosen`)."""

    validation: float | None = None
    """The deciding metric on the users that the search asked."""

    note: str = ""
    """What a reader has to know of this model."""

    failure: str = ""
    """Why the model must not be used; empty where nothing is wrong."""


class Comparison:
    """All models on all splits of a protocol, ours the last of them."""

    def __init__(
        self,
        measured: Mapping[str, Sequence[Measured]],
        trials: Sequence[Trial],
        *,
        metrics: Sequence[str],
        seed: int,
    ) -> None:
        """Take what was measured on each split.

        Args:
            measured: For each model its figures on each of S splits.
            trials: S, what was asked.
            metrics: What is reported; the first decides.
            seed: Of the bootstrap.
        """
        self._measured, self._metrics, self._seed = measured, metrics, seed
        ids = [user_id for trial in trials for user_id in trial.user_ids]
        self._persons = np.unique(ids, return_inverse=True)[1]
        lengths = [history_bands(trial) for trial in trials]
        self._lengths = {name: np.concatenate([each[name] for each in lengths]) for name in lengths[0]}
        self._ours = list(measured)[-1]
        self._peers = list(measured)[:-1]

    def table(self, about: dict[str, Any], notes: Sequence[str]) -> Table:
        """The table of everything, with a note on the strongest peer for each metric."""
        rows = {model: self._row(model) for model in self._measured}
        details = {model: {"slices": self._slices(model)} for model in self._measured}
        for peer in self._peers:
            ratios = {metric: self._paired(Interval.of_ratio, peer, metric) for metric in self._metrics}
            rows[peer]["ours / it"] = ratios[self._metrics[0]]
            details[peer] |= {
                "ratios": ratios,
                "differences": {
                    metric: self._paired(Interval.of_difference, peer, metric) for metric in self._metrics
                },
            }
        strongest = {
            metric: max(self._peers, key=lambda peer: rows[peer][metric]["mean"]) for metric in self._metrics
        }
        chosen = self._best_by_validation()
        against = {"the strongest peer on the targets": strongest}
        if chosen is not None:
            against["the best peer on validation users"] = dict.fromkeys(self._metrics, chosen)
        headlines = []
        for which, peers in against.items():
            figures = {metric: _text(details[peer]["ratios"][metric]) for metric, peer in peers.items()}
            parts = (f"{metric} {figures[metric]} ({peer})" for metric, peer in peers.items())
            headlines.append(f"{self._ours} / {which}: {'; '.join(parts)}")
        own = dict.fromkeys(each.note for found in self._measured.values() for each in found if each.note)
        return Table(
            about=about | {"best_peer": {"on the targets": strongest, "on validation users": chosen}},
            rows=rows,
            notes=(*headlines, *notes, *own),
            details=details,
        )

    def _row(self, model: str) -> dict[str, Any]:
        """Figures of one model over all splits."""
        found = self._measured[model]
        row: dict[str, Any] = {
            metric: self._interval(self._pooled(model, metric)) for metric in self._metrics
        }
        for name in found[0].report.lists:
            row[name] = float(np.mean([each.report.lists[name] for each in found]))
        if fits := [each.fit_s for each in found if each.fit_s is not None]:
            row["fit_s"] = round(float(np.mean(fits)), 2)
        if found[0].parameters:
            row["tuning_s"] = round(float(np.mean([each.tuning_s for each in found])), 2)
            row["parameters"] = [list(each.parameters) for each in found]
        return row

    def _slices(self, model: str) -> dict[str, dict[str, Any]]:
        """The deciding metric in every slice, with the number of users who are in it."""
        reports = [each.report for each in self._measured[model]]
        values = self._pooled(model, self._metrics[0])
        slices = {
            "length of the history": {name: _only(values, self._lengths[name]) for name in self._lengths}
        }
        for kind, labels in reports[0].slices.items():
            slices[kind] = {
                label: np.concatenate([each.slices[kind][label] for each in reports]) for label in labels
            }
        return {
            kind: {
                label: self._interval(part) | {"users": int(np.isfinite(part).sum())}
                for label, part in parts.items()
                if np.isfinite(part).any()
            }
            for kind, parts in slices.items()
        }

    def _best_by_validation(self) -> str | None:
        """The peer whose search found most, on average over the splits it was tuned on; None if on none."""
        values = {}
        for peer in self._peers:
            found = [each.validation for each in self._measured[peer] if each.validation is not None]
            if found:
                values[peer] = float(np.mean(found))
        return max(values, key=lambda peer: values[peer]) if values else None

    def _pooled(self, model: str, metric: str) -> Floats:
        return np.concatenate([each.report.per_user[metric] for each in self._measured[model]])

    def _interval(self, values: Floats) -> dict[str, float]:
        return asdict(Interval.of(values, seed=self._seed, persons=self._persons))

    def _paired(self, figure: Any, peer: str, metric: str) -> dict[str, float]:
        ours, theirs = self._pooled(self._ours, metric), self._pooled(peer, metric)
        return asdict(figure(ours, theirs, seed=self._seed, persons=self._persons))


def _only(values: Floats, chosen: Flags) -> Floats:
    return np.where(chosen, values, np.nan).astype(np.float32)


def _text(interval: Mapping[str, float]) -> str:
    if not np.isfinite(interval["mean"]):
        return "-"
    low, high = (f"{interval[end]:.3f}" if np.isfinite(interval[end]) else "-" for end in ("low", "high"))
    return f"{interval['mean']:.3f} [{low}, {high}]"
