"""How well a ranker answers a trial, by matrix products in blocks of users."""

import numpy as np

from deepmoviematch.data.tables import Catalogue

from .metrics import RankingMeter, RankingReport
from .peers import Ranker, popularity
from .protocols import Trial

BLOCK = 256
"""Users that are scored at once."""


def rank(ranker: Ranker, trial: Trial, catalogue: Catalogue) -> RankingReport:
    """Rank the catalogue, or the trial's candidates, for every user and measure it against the targets.

    What the trial hides is out of the running, low ratings included.
    """
    meter = RankingMeter(catalogue.genres, popularity(trial.train, len(catalogue)))
    for first in range(0, len(trial.users), BLOCK):
        users, hidden = (batch.slice(first, first + BLOCK) for batch in (trial.users, trial.hidden))
        scores = ranker.score(users).astype(np.float32)
        scores[hidden.owners, hidden.items] = -np.inf
        if trial.candidates is not None:
            scores[:, ~trial.candidates] = -np.inf
        targets = np.zeros(scores.shape, dtype=np.bool_)
        asked = (trial.target_users >= first) & (trial.target_users < first + BLOCK)
        targets[trial.target_users[asked] - first, trial.target_items[asked]] = True
        meter.add(scores, targets, with_auc=trial.candidates is not None)
    return meter.report()
