"""Who and what is kept from training, so that a model is judged on what it has not seen.

Everything follows from the seed alone, and works by columns: a split of 25 million
ratings takes seconds.
"""

from typing import NamedTuple

import numpy as np

from deepmoviematch.data.arrays import Flags, Ints, Longs
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.features import LIKE_STARS
from deepmoviematch.data.ratings import Ratings

MIN_LIKES = 5
"""Users with fewer likes are not held out: too little could be asked of them."""


def random_split(rows: int, *, test_share: float, seed: int) -> tuple[Longs, Longs]:
    """Training rows and test rows of 0..`rows` - 1, each in random order.

    The permutation is that of scikit-learn's `train_test_split(test_size=test_share,
    random_state=seed)`, so that a published split can be met to the row.

    Args:
        rows: How many there are.
        test_share: Part of them to test on; rounded up.
        seed: Of the permutation, 0 or more.

    Raises:
        DataError: If either side would be empty.
    """
    tests = int(np.ceil(rows * test_share))
    if not 0 < tests < rows:
        raise DataError(
            f"a split must leave rows on both sides, got {tests} of {rows} to test on (share {test_share})"
        )
    order = np.random.RandomState(seed).permutation(rows)  # the generator that scikit-learn still uses
    return order[tests:], order[:tests]


class UserSplit(NamedTuple):
    """Users whom training never sees, each with a history and with likes to find."""

    train: Ratings
    """All ratings of everybody else."""

    history: Ratings
    """What is known of the held-out users."""

    target_users: Ints
    """[T] rows of `history.user_ids`, never decreasing; every one has a target."""

    target_items: Ints
    """[T] rows of the catalogue: likes that are not in the history."""


def hold_out_users(
    ratings: Ratings,
    *,
    share: float,
    seed: int,
    fold: int = 0,
    history_share: float = 0.8,
    min_likes: int = MIN_LIKES,
) -> UserSplit:
    """Hold out users whole; show a random part of each one's ratings, and ask for the likes in the rest.

    Args:
        ratings: Of everybody.
        share: Part of the users with enough likes to hold out, above 0 and below 1.
        seed: Of the order in which users are held out, and of their histories.
        fold: Which stretch of that order; those of one seed share no user.
        history_share: Part of a held-out user's ratings, liked or not, that is the
            history, rounded down; above 0 and below 1.
        min_likes: Users with fewer likes are only trained on.

    Raises:
        DataError: If a share is out of range, or nobody would be held out or left to train on.
    """
    for name, value in (("share", share), ("history_share", history_share)):
        if not 0 < value < 1:
            raise DataError(f"{name} must be above 0 and below 1, got {value}")
    random = np.random.default_rng(seed)
    users, size = ratings.users, len(ratings.user_ids)
    liked = ratings.stars >= LIKE_STARS
    able = np.flatnonzero(np.bincount(users[liked], minlength=size) >= min_likes)
    size_held = round(share * len(able))
    if size_held == 0:
        raise DataError(
            f"a share of the users with {min_likes} likes must be held out, got {share} of {len(able)} users"
            f"; that takes {int(0.5 / share) + 1} users"
        )
    chosen = random.permutation(able)[fold * size_held : (fold + 1) * size_held]
    if len(chosen) == 0:
        raise DataError(
            f"folds must not share users, got {fold + 1} folds of {size_held} from {len(able)} users"
            f"; there are {-(-len(able) // size_held)} such folds"
        )
    held = np.zeros(size, dtype=np.bool_)
    held[chosen] = True
    if held.all():
        raise DataError(f"somebody must be left to train on, got all {size} users held out")

    shown = _shown(users, held, history_share, random)
    asked_for = held[users] & ~shown & liked
    has_target = np.bincount(users[asked_for], minlength=size) > 0
    if not has_target.any():
        raise DataError(f"held-out users must have likes outside their histories, got none in {len(chosen)}")
    rows = np.cumsum(has_target, dtype=np.int32) - 1  # among the users of the history
    return UserSplit(
        train=ratings.take(~held[users]),
        history=ratings.take(shown & has_target[users]),
        target_users=rows[users[asked_for]],
        target_items=ratings.items[asked_for],
    )


def _shown(users: Ints, held: Flags, share: float, random: np.random.Generator) -> Flags:
    """[R] flags a random `share` of each held user's ratings, one at least."""
    rows = np.flatnonzero(held[users])
    shuffled = rows[np.lexsort((random.random(len(rows)), users[rows]))]  # still user after user
    counts = np.bincount(users[rows], minlength=len(held))
    starts = np.cumsum(counts) - counts
    ranks = np.arange(len(rows)) - starts[users[rows]]
    sizes = np.maximum(1, np.floor(share * counts))
    shown = np.zeros(len(users), dtype=np.bool_)
    shown[shuffled[ranks < sizes[users[rows]]]] = True
    return shown
