"""How well a ranker finds what held-out users liked, on the full catalogue."""

import numpy as np

from deepmoviematch.data.features import UserBatch
from deepmoviematch.data.splits import UserSplit
from deepmoviematch.data.tables import Catalogue

from .metrics import RankingMeter, RankingReport
from .peers import Ranker

BLOCK = 256
"""Users that are scored at once."""


def rank_held_out(ranker: Ranker, split: UserSplit, catalogue: Catalogue) -> RankingReport:
    """Rank the catalogue for every held-out user and measure it against the targets.

    The whole history is kept out of the ranking, its low ratings included.

    Args:
        ranker: What to measure.
        split: Histories and targets of the held-out users.
        catalogue: What is ranked.
    """
    meter = RankingMeter(len(catalogue))
    everyone = UserBatch.of_histories(split.history, len(catalogue.genre_names))
    for first in range(0, len(everyone), BLOCK):
        users = everyone.slice(first, first + BLOCK)
        scores = ranker.score(users).astype(np.float32)
        scores[users.owners, users.items] = -np.inf
        targets = np.zeros(scores.shape, dtype=np.bool_)
        asked = (split.target_users >= first) & (split.target_users < first + BLOCK)
        targets[split.target_users[asked] - first, split.target_items[asked]] = True
        meter.add(scores, targets)
    return meter.report()
