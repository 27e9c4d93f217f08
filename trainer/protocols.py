"""What each protocol tells a model, and what it asks for.

A `Trial` holds the training ratings, some users as a request would describe them,
and the likes they are hoped to be shown. Nothing of a target is in the training
ratings or in what is told. Symbols: `B` users, `N` items, `G` genres, `T` targets.
"""

from dataclasses import dataclass, replace

import numpy as np

from deepmoviematch.data.features import LIKE_STARS, UserBatch, preferences_from_lift
from deepmoviematch.data.splits import hold_out_users
from deepmoviematch.data.tables import TOP_STARS, Catalogue, Flags, Floats, Ints, Ratings, Times

from .ease import like_matrix
from .errors import TrainingError
from .views import base_shares, genre_lift, genre_shares

TEST_SHARE = 0.1
"""Share of the users, or of the items, that a protocol holds out."""

LATEST_SHARE = 0.2
"""Share of a user's ratings, the latest, that `time` asks for."""

CUTS = (0.8, 0.75, 0.85, 0.7, 0.9)
"""Shares of all ratings before the cut in time; the seed takes one after the other."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One question to every model."""

    train: Ratings
    """What models are fitted on."""

    users: UserBatch
    """B users as a request describes them; histories run from the oldest to the latest."""

    hidden: UserBatch
    """The items of these histories are out of the running for the same B users."""

    target_users: Ints
    """[T] rows of `users`, never decreasing; every user has a target."""

    target_items: Ints
    """[T] likes that should be ranked high."""

    candidates: Flags | None = None
    """[N] items that are ranked; None ranks all."""

    def __post_init__(self) -> None:
        """Refuse a trial whose targets are known or out of the running."""
        if len(self.target_users) == 0:
            raise TrainingError("a protocol needs users with targets, got none; the data may be too small")
        if not np.array_equal(np.unique(self.target_users), np.arange(len(self.users))):
            raise TrainingError("every user of a trial must have a target")
        for known in (self.hidden, self.users):
            width = int(max(self.target_items.max(), known.items.max(initial=0))) + 1
            targets = self.target_users.astype(np.int64) * width + self.target_items
            if np.isin(targets, known.owners * width + known.items).any():
                raise TrainingError("history and targets must not overlap")


def new_users(catalogue: Catalogue, ratings: Ratings, seed: int, *, share: float = TEST_SHARE) -> Trial:
    """Users held out whole; 80 % of their ratings is the history, the likes among the rest the targets."""
    split = hold_out_users(ratings, share=share, seed=seed)
    users = UserBatch.of_histories(split.history, len(catalogue.genre_names))
    return Trial(split.train, users, users, split.target_users, split.target_items)


def short_history(catalogue: Catalogue, ratings: Ratings, seed: int, *, likes: int = 3) -> Trial:
    """The same users and targets, of whose history only `likes` random likes are told."""
    split = hold_out_users(ratings, share=TEST_SHARE, seed=seed)
    rng = np.random.default_rng([seed, likes])
    history = split.history
    keys = np.where(history.stars >= LIKE_STARS, rng.random(len(history)), 2.0)
    order = np.lexsort((keys, history.users))
    ranks = np.empty(len(history), dtype=np.int64)
    ranks[order] = np.arange(len(history)) - history.offsets[history.users]
    told = (ranks < likes) & (keys < 2)
    users = _batch(history, told, len(catalogue.genre_names))
    hidden = UserBatch.of_histories(history, len(catalogue.genre_names))
    return Trial(split.train, users, hidden, split.target_users, split.target_items)


def genres_only(catalogue: Catalogue, ratings: Ratings, seed: int, *, ticked: int | None = None) -> Trial:
    """The same users and targets, told by nothing but preferences that their history shows.

    Args:
        catalogue: The items.
        ratings: Everybody's ratings.
        seed: Of the split.
        ticked: How many favourite genres are told, at five stars; None tells the exact
            lift of every genre.
    """
    split = hold_out_users(ratings, share=TEST_SHARE, seed=seed)
    items, genres = len(catalogue), catalogue.genres
    shares = genre_shares(like_matrix(split.history, items, threshold=LIKE_STARS), genres)
    likes = like_matrix(split.train, items, threshold=LIKE_STARS)
    base = base_shares(genre_shares(likes, genres), likes)
    exact = preferences_from_lift(genre_lift(shares, base))
    untold = _batch(split.history, np.zeros(len(split.history), dtype=np.bool_), len(catalogue.genre_names))
    users = replace(untold, preferences=exact if ticked is None else _favourites(shares, ticked))
    hidden = UserBatch.of_histories(split.history, len(catalogue.genre_names))
    return Trial(split.train, users, hidden, split.target_users, split.target_items)


def next_item(catalogue: Catalogue, ratings: Ratings, seed: int) -> Trial:
    """Each user's last like is the target, what came before it the history.

    What the user rated later is left out; others' later ratings are trained on. Ties in
    time keep the file's order. The seed plays no part.
    """
    _times(ratings)
    liked = ratings.stars >= LIKE_STARS
    places = np.arange(len(ratings))
    last = np.full(len(ratings.user_ids), -1, dtype=np.int64)
    np.maximum.at(last, ratings.users[liked], places[liked])
    asked = last > ratings.offsets[:-1]  # with a like that is not the first thing they rated
    before = places < np.where(last < 0, len(ratings), last)[ratings.users]
    history = ratings.take(before & asked[ratings.users])
    users = UserBatch.of_histories(history, len(catalogue.genre_names), asks_next=True)
    train = ratings.take(before)
    rows = np.arange(len(history.user_ids), dtype=np.int32)
    return Trial(train, users, users, rows, ratings.items[last[asked]])


def time_cut(catalogue: Catalogue, ratings: Ratings, seed: int) -> Trial:
    """Models see what was rated before a moment; users of later are asked for their latest likes.

    A user's history is the earlier 80 % of the ratings, whenever they were made; the
    targets are the likes among the rest, all of them after the moment.
    """
    times = _times(ratings)
    cut = np.quantile(times, CUTS[(seed - 1) % len(CUTS)])
    counts = np.diff(ratings.offsets)
    place = np.arange(len(ratings)) - ratings.offsets[ratings.users]
    early = place < np.ceil((1 - LATEST_SHARE) * counts)[ratings.users]
    target = ~early & (times >= cut) & (ratings.stars >= LIKE_STARS)
    asked = np.bincount(ratings.users[target], minlength=len(counts)) > 0
    history = ratings.take(early & asked[ratings.users])
    rows = np.cumsum(asked, dtype=np.int32) - 1
    users = UserBatch.of_histories(history, len(catalogue.genre_names), asks_next=True)
    return Trial(
        ratings.take(times < cut),
        users,
        users,
        rows[ratings.users[target]],
        ratings.items[target],
    )


def cold_items(catalogue: Catalogue, ratings: Ratings, seed: int) -> Trial:
    """A tenth of the rated items is kept from training and ranked among itself for whoever likes some."""
    rated = np.unique(ratings.items)
    rng = np.random.default_rng(seed)
    cold = np.zeros(len(catalogue), dtype=np.bool_)
    cold[rng.permutation(rated)[: max(1, round(TEST_SHARE * len(rated)))]] = True
    target = cold[ratings.items] & (ratings.stars >= LIKE_STARS)
    warm = ~cold[ratings.items]
    size = len(ratings.user_ids)
    asked = np.bincount(ratings.users[target], minlength=size) > 0
    asked &= np.bincount(ratings.users[warm], minlength=size) > 0
    history = ratings.take(warm & asked[ratings.users])
    users = UserBatch.of_histories(history, len(catalogue.genre_names))
    target &= asked[ratings.users]
    rows = np.cumsum(asked, dtype=np.int32) - 1
    return Trial(
        ratings.take(warm), users, users, rows[ratings.users[target]], ratings.items[target], candidates=cold
    )


def _batch(ratings: Ratings, told: Flags, genres: int) -> UserBatch:
    """The users of a table, described by the rows that `told` flags; some may have none."""
    return UserBatch(
        preferences=np.full((len(ratings.user_ids), genres), np.nan, dtype=np.float32),
        items=ratings.items[told],
        stars=ratings.stars[told],
        offsets=np.searchsorted(ratings.users[told], np.arange(len(ratings.user_ids) + 1)),
        asks_next=np.zeros(len(ratings.user_ids), dtype=np.bool_),
    )


def _favourites(shares: Floats, count: int) -> Floats:
    """[B, G] five stars for each user's `count` most liked genres, NaN for the others."""
    ranks = np.argsort(np.argsort(-shares, axis=1, kind="stable"), axis=1)
    return np.where((ranks < count) & (shares > 0), TOP_STARS, np.nan).astype(np.float32)


def _times(ratings: Ratings) -> Times:
    if ratings.timestamps is None:
        raise TrainingError(
            "this protocol needs timestamps, got ratings without any; use --protocol new-users"
        )
    return ratings.timestamps
