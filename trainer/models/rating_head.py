"""Fits the rating head (`deepmoviematch.data.rating_head`), in closed form, to towers that are done.

Symbols: `N` items, `D` width.
"""

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.rating_head import KIND
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.weights import Weights
from deepmoviematch.trainer.peers.baselines import RatingRows, biases

DAMPING = 4.0
"""Ratings by which the bias of a user or an item is drawn towards 0."""

PENALTY = 6.0
"""L2 penalty of a user's taste; 4 to 10 are about as good on ml-100k and ml-latest-small."""


def fit_rating_head(ratings: Ratings, directions: Floats) -> Weights:
    """What a `RatingHead` has to know.

    Args:
        ratings: Of everybody.
        directions: [N, D] unit vectors of the items.
    """
    rows = RatingRows(
        users=ratings.users.astype(np.int64), items=ratings.items.astype(np.int64), ratings=ratings.stars
    )
    mean, _, items = biases(rows, DAMPING)
    usual = np.full(len(directions), mean)
    usual[: len(items)] += items
    counts = np.bincount(ratings.items, minlength=len(directions)).astype(np.float32)
    spread, axes = np.linalg.eigh((directions * counts[:, None]).T @ directions / len(ratings))
    return Weights(
        {"kind": KIND, "damping": DAMPING, "penalty": PENALTY},
        {
            "usual": usual.astype(np.float32),
            "axes": axes.astype(np.float32),
            "spread": np.maximum(spread, 0).astype(np.float32),
        },
    )
