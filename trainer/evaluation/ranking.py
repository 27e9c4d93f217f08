"""How well a ranker answers a trial, by matrix products in blocks of users."""

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats, Longs
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation.lists import popularity_ranks
from deepmoviematch.trainer.evaluation.meter import Bands, RankingMeter, RankingReport
from deepmoviematch.trainer.evaluation.protocols import Trial
from deepmoviematch.trainer.likes import popularity
from deepmoviematch.trainer.peers.rankers import Ranker

BLOCK = 256
"""Users that are scored at once."""

POPULARITY_BANDS = {"most popular 20 %": (0.0, 0.2), "next 30 %": (0.2, 0.5), "rest": (0.5, 1.0)}
HISTORY_BANDS = {"0-9": (0, 10), "10-29": (10, 30), "30-99": (30, 100), "100 or more": (100, np.inf)}


def rank(ranker: Ranker, trial: Trial, catalogue: Catalogue, *, sliced: str = "") -> RankingReport:
    """Rank the catalogue, or the trial's candidates, for every user and measure it against the targets.

    What the trial hides is out of the running.

    Args:
        ranker: What scores the catalogue.
        trial: Whom to rank it for.
        catalogue: N items.
        sliced: A metric to report by slice too; none where empty.

    Raises:
        TrainingError: If a score is not a number.
    """
    meter = meter_of(trial, catalogue, sliced=sliced)
    for first in range(0, len(trial.users), BLOCK):
        users, hidden = (batch.slice(first, first + BLOCK) for batch in (trial.users, trial.hidden))
        scores = ranker.score(users).astype(np.float32)
        if not np.isfinite(scores).all():
            raise TrainingError(f"scores must be finite, got NaN or infinity from {type(ranker).__name__}")
        scores[hidden.owners, hidden.items] = -np.inf
        if trial.candidates is not None:
            scores[:, ~trial.candidates] = -np.inf
        targets = trial.targets(first, first + BLOCK, len(catalogue))
        meter.add(scores, targets, with_auc=trial.candidates is not None)
    return meter.report()


def meter_of(trial: Trial, catalogue: Catalogue, *, sliced: str = "") -> RankingMeter:
    """What measures answers to `trial`, by slices of the metric `sliced` where one is named."""
    liked = popularity(trial.train, len(catalogue))
    bands: Bands = _bands(liked, catalogue) if sliced else {}
    return RankingMeter(catalogue.genres, liked, bands=bands, sliced=sliced)


def history_bands(trial: Trial) -> dict[str, Flags]:
    """[B] flags of the users whose known history has a length in each of `HISTORY_BANDS`."""
    sizes = trial.hidden.history_sizes
    return {name: (low <= sizes) & (sizes < high) for name, (low, high) in HISTORY_BANDS.items()}


def candidate_counts(trial: Trial, items: int) -> Longs:
    """[B] how many of the `items` are in the running for each user."""
    ranked = np.ones(items, dtype=np.bool_) if trial.candidates is None else trial.candidates
    hidden = trial.hidden
    out = np.bincount(hidden.owners[ranked[hidden.items]], minlength=len(hidden))
    return (int(ranked.sum()) - out).astype(np.int64)


def _bands(popularity: Floats, catalogue: Catalogue) -> dict[str, dict[str, Flags]]:
    places = popularity_ranks(popularity) / len(catalogue)
    return {
        "popularity of the target": {
            name: (low <= places) & (places < high) for name, (low, high) in POPULARITY_BANDS.items()
        },
        "genre of the target": {
            name: catalogue.genres[:, column] for column, name in enumerate(catalogue.genre_names)
        },
    }
