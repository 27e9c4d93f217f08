"""What it adds to know the moment: likes of held-out users, asked for when and on what they were rated.

Symbols: `B` users, `T` likes that are asked for, `N` items.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deepmoviematch.data.arrays import Floats, Ints, Longs
from deepmoviematch.data.context import FEATURES, UNTOLD, moments_of
from deepmoviematch.data.ratings import Ratings, pair_codes
from deepmoviematch.trainer.evaluation.bootstrap import Interval
from deepmoviematch.trainer.evaluation.protocols import Trial
from deepmoviematch.trainer.models.moments import Moments
from deepmoviematch.trainer.models.two_towers import TwoTowers

RANKS = 100
BLOCK = 256
"""Likes that are asked for at once."""

FEWEST_USERS = 20
"""Of fewer users a gain says nothing."""


@dataclass(frozen=True, eq=False)
class Gain:
    """What one feature adds for users who tell it: the mean NDCG@100 of each user's likes, one at a time."""

    plain: Floats
    """[B] without it."""

    told: Floats
    """[B] with it."""

    @classmethod
    def pooled(cls, parts: Sequence["Gain"]) -> "Gain":
        """That of the users of several splits, who are different ones."""
        return cls(
            np.concatenate([each.plain for each in parts]), np.concatenate([each.told for each in parts])
        )

    def figures(self, seed: int) -> dict[str, Any]:
        """What a manifest says of it, with 95 % bootstrap intervals over users, paired."""
        if len(self.plain) == 0:
            return {"users": 0, "on": False}
        added = Interval.of_difference(self.told, self.plain, seed=seed)
        return {
            "users": len(self.plain),
            "ndcg@100": round(float(self.plain.mean()), 4),
            "added": {bound: round(value, 4) for bound, value in asdict(added).items()},
            "on": len(self.plain) >= FEWEST_USERS and added.low > 0,
        }


def gains(towers: TwoTowers, moments: Moments, trial: Trial, ratings: Ratings) -> dict[str, Gain]:
    """Ask for every like of `trial`, with and without each feature of the moment that it was made at.

    Args:
        towers: Fitted on the trial's training ratings.
        moments: For these towers, from the same ratings.
        trial: The users.
        ratings: Everybody's, which say when targets were rated.
    """
    asked = _moments(trial, ratings, moments.signals.devices)
    tastes = towers.embed_users(trial.users)[trial.target_users]  # [T, D]
    items = towers.item_vectors()
    plain = _found(tastes, items, trial)
    found = {}
    for name in moments.signals.means:
        column = FEATURES.index(name)
        alone = np.full_like(asked, UNTOLD)
        alone[:, column] = asked[:, column]
        told = _found(moments.moved(tastes, alone), items, trial)
        known = asked[:, column] != UNTOLD
        owners = trial.target_users[known]
        found[name] = Gain(_means(owners, plain[known]), _means(owners, told[known]))
    return found


def _means(owners: Ints, values: Floats) -> Floats:
    """The mean of each owner's `values` [T], for those who have some."""
    counts = np.bincount(owners)
    some = counts > 0
    means: Floats = (np.bincount(owners, values)[some] / counts[some]).astype(np.float32)
    return means


def _moments(trial: Trial, ratings: Ratings, devices: tuple[str, ...]) -> Ints:
    """[T, 3] when and on what each target was rated."""
    row_of = {user_id: row for row, user_id in enumerate(ratings.user_ids)}
    users = np.array([row_of[user_id] for user_id in trial.user_ids], dtype=np.int64)
    width = int(max(ratings.items.max(), trial.target_items.max())) + 1
    codes = pair_codes(ratings.users, ratings.items, width)
    order = np.argsort(codes)
    wanted = pair_codes(users[trial.target_users], trial.target_items, width)
    places: Longs = order[np.searchsorted(codes, wanted, sorter=order)]
    return moments_of(ratings, devices)[places]


def _found(vectors: Floats, items: Floats, trial: Trial) -> Floats:
    """[T] the NDCG@100 of each target alone, for users who are at `vectors` [T, D] when they ask for it."""
    places = np.empty(len(vectors), dtype=np.int64)
    for first in range(0, len(vectors), BLOCK):
        mine = slice(first, first + BLOCK)
        users = trial.target_users[mine]  # sorted, and each user has a like
        hidden = trial.hidden.slice(users[0], users[-1] + 1)
        known = np.zeros((len(hidden), len(items)), dtype=np.bool_)
        known[hidden.owners, hidden.items] = True
        scores = vectors[mine] @ items.T
        own = np.take_along_axis(scores, trial.target_items[mine, None], axis=1)
        places[mine] = 1 + np.sum((scores > own) & ~known[users - users[0]], axis=1)
    return np.where(places <= RANKS, 1 / np.log2(1 + places), 0).astype(np.float32)
