"""Errors of the rating head on ratings of users whom nothing was fitted on.

They tell a part of their ratings, as in the protocol `new-users`; what is predicted are all the
others, likes or not. Symbols: `R` ratings to predict.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deepmoviematch.data.arrays import Floats, Longs
from deepmoviematch.data.rating_head import RatingHead
from deepmoviematch.data.ratings import Ratings, pair_codes
from deepmoviematch.data.weights import Weights
from deepmoviematch.trainer.evaluation.bootstrap import Interval
from deepmoviematch.trainer.evaluation.protocols import Trial

BIASES = "user + item bias"
"""What a rating head has to beat: the same head without taste."""

OURS = "rating head"


@dataclass(frozen=True, eq=False)
class StarErrors:
    """Errors of each way to predict."""

    users: Longs
    """[R] whose they are."""

    errors: dict[str, Floats]
    """Name -> [R] predicted less given stars."""

    @classmethod
    def of(cls, ratings: Ratings, trial: Trial, head: Weights, directions: Floats) -> "StarErrors":
        """Ask a head for what the users of `trial` rated and do not tell.

        Args:
            ratings: Of everybody.
            trial: Whom to ask, and what they tell.
            head: Fitted on others.
            directions: [N, D] unit vectors of the items.
        """
        users, scale, mean = trial.users, ratings.scale, float(trial.train.stars.mean())
        number = {user_id: row for row, user_id in enumerate(trial.user_ids)}
        row_of = np.array([number.get(user_id, -1) for user_id in ratings.user_ids])
        owners = row_of[ratings.users]
        told = pair_codes(users.owners, users.items, len(directions))
        rated = pair_codes(owners, ratings.items, len(directions))
        asked = (owners >= 0) & ~np.isin(rated, told)
        heads = {
            BIASES: RatingHead(head, np.zeros_like(directions), scale),
            OURS: RatingHead(head, directions, scale),
        }
        given, rows = ratings.stars[asked], ratings.items[asked]
        bounds = np.searchsorted(owners[asked], np.arange(len(users) + 1))
        predicted = {"mean": np.full(len(given), mean)} | {name: np.empty(len(given)) for name in heads}
        for user in range(len(users)):
            history = slice(*users.offsets[user : user + 2])
            told_stars = dict(zip(users.items[history].tolist(), users.stars[history].tolist(), strict=True))
            there = slice(bounds[user], bounds[user + 1])
            for name, each in heads.items():
                found = each.predict(told_stars, rows[there].tolist())
                predicted[name][there] = scale.stars(np.array(found, dtype=np.float32))
        return cls(
            owners[asked], {name: (each - given).astype(np.float32) for name, each in predicted.items()}
        )

    @classmethod
    def pooled(cls, parts: Sequence["StarErrors"]) -> "StarErrors":
        """Those of several trials, whose users are others."""
        before = np.cumsum([0, *(int(part.users.max()) + 1 for part in parts)])
        users = [part.users + first for part, first in zip(parts, before, strict=False)]
        return cls(
            np.concatenate(users),
            {name: np.concatenate([part.errors[name] for part in parts]) for name in parts[0].errors},
        )

    def figures(self, *, seed: int) -> dict[str, dict[str, Any]]:
        """For each way its root mean square error and mean absolute error in stars, with intervals.

        Those of the others have beside them what the head's root mean square error is of theirs, unless
        some draw of the users has none: what was predicted exactly cannot be divided by.
        """
        rows = {
            name: {
                "rmse_stars": asdict(Interval.of(errors**2, seed=seed, persons=self.users).root),
                "mae_stars": asdict(Interval.of(np.abs(errors), seed=seed, persons=self.users)),
            }
            for name, errors in self.errors.items()
        }
        *others, ours = self.errors
        for name in others:
            ratio = Interval.of_ratio(
                self.errors[ours] ** 2, self.errors[name] ** 2, seed=seed, persons=self.users
            )
            if np.isfinite((ratio.mean, ratio.low, ratio.high)).all():
                rows[name]["rmse, ours / it"] = asdict(ratio.root)
        return rows
