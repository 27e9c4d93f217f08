"""What each protocol tells a model, and what it asks for.

A `Trial` holds the training ratings, some users as a request would describe them,
and the likes they are hoped to be shown. Nothing of a target is in the training
ratings or in what is told. A protocol is a way to split the data and, on top of it,
a way to tell less of the users; protocols with the same split share its training
ratings. Symbols: `B` users, `N` items, `G` genres, `T` targets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats, Ints, Longs
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.features import LIKE_STARS, preferences_from_lift
from deepmoviematch.data.ratings import TOP_STARS, Ratings, pair_codes
from deepmoviematch.data.splits import hold_out_users
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.likes import base_shares, genre_lift, genre_shares, like_matrix, liked_histories

TEST_SHARE = 0.1
"""Share of the users, or of the items, that a protocol holds out."""

LATEST_SHARE = 0.2
"""Share of a user's ratings, the latest, that `time` asks for."""

CUTS = (0.8, 0.75, 0.85, 0.7, 0.9)
"""Shares of all ratings before the cut in time; splits take one after the other."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One question to every model."""

    train: Ratings
    """What models are fitted on."""

    user_ids: tuple[str, ...]
    """[B] who is asked for."""

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
        """Refuse a trial whose targets are known, out of the running or in disorder."""
        if len(self.target_users) == 0:
            raise TrainingError("a protocol needs users with targets, got none; the data may be too small")
        if not (self.train.stars >= LIKE_STARS).any():
            raise TrainingError("a protocol needs likes to train on, got none but those that are asked for")
        if not np.array_equal(np.unique(self.target_users), np.arange(len(self.users))):
            raise TrainingError("every user of a trial must have a target")
        if (np.diff(self.target_users) < 0).any():
            raise TrainingError("the targets of a trial must be sorted by user")
        for known in (self.hidden, self.users):
            width = int(max(self.target_items.max(), known.items.max(initial=0))) + 1
            targets = pair_codes(self.target_users, self.target_items, width)
            if np.isin(targets, pair_codes(known.owners, known.items, width)).any():
                raise TrainingError("history and targets must not overlap")

    def targets(self, first: int, last: int, items: int) -> Flags:
        """[B', `items`] what the users `first` to `last` - 1 should be shown."""
        asked = (self.target_users >= first) & (self.target_users < last)
        flags = np.zeros((min(last, len(self.users)) - first, items), dtype=np.bool_)
        flags[self.target_users[asked] - first, self.target_items[asked]] = True
        return flags


def new_users(
    catalogue: Catalogue, ratings: Ratings, seed: int, fold: int = 0, *, share: float = TEST_SHARE
) -> Trial:
    """Users held out whole; 80 % of their ratings is the history, the likes among the rest the targets.

    The folds of a seed share no user.
    """
    split = hold_out_users(ratings, share=share, seed=seed, fold=fold)
    users = UserBatch.of_histories(split.history, len(catalogue.genre_names))
    return Trial(split.train, split.history.user_ids, users, users, split.target_users, split.target_items)


def refuse_other_catalogue(folder: Path, fitted: Catalogue, asked: Catalogue) -> None:
    """Refuse to ask the run in `folder`, fitted on one catalogue, about another one."""
    if fitted.item_ids != asked.item_ids:
        raise TrainingError(
            f"--run must have been fitted on --data, got {folder} with another catalogue; "
            "name the data that it was fitted on, or fit the run anew"
        )


def held_out(folder: Path, run: Mapping[str, Any], dataset: Dataset) -> Trial | None:
    """The users of `dataset` whom the run in `folder` held out, and its towers were not fitted on.

    Args:
        folder: Of the run.
        run: Its provenance.
        dataset: What it was fitted on; `new_users` draws others from any other.

    Returns:
        None if the towers were fitted on everyone.

    Raises:
        TrainingError: If the run held users out of other data.
    """
    metrics = run["metrics"]
    if metrics.get("refit_on_everyone") or not metrics.get("held_out_share"):
        return None
    if run["data_digest"] != dataset.digest:
        raise TrainingError(
            f"--data must be what the run held users out of, to the row, got {dataset.name} with the digest "
            f"{dataset.digest:.12} for {folder}, fitted on {run['dataset']} with {run['data_digest']:.12}; "
            "name the data as they were (and --lenient if it was fitted so), or fit the run anew"
        )
    return new_users(dataset.catalogue, dataset.ratings, run["seed"], share=metrics["held_out_share"])


def next_item(catalogue: Catalogue, ratings: Ratings, _seed: int, _fold: int = 0) -> Trial:
    """Each user's last like is the target, what came before it the history.

    What the user rated later is left out; others' later ratings are trained on. Ties in
    time keep the file's order. Everyone is asked, so seed and fold play no part.
    """
    _times(ratings)
    if not ratings.tells_order:
        raise TrainingError("this protocol needs users who rated at different times, got none")
    liked = ratings.stars >= LIKE_STARS
    places = np.arange(len(ratings))
    last = np.full(len(ratings.user_ids), -1, dtype=np.int64)
    np.maximum.at(last, ratings.users[liked], places[liked])
    asked = last > ratings.offsets[:-1]  # with a like that is not the first thing they rated
    if not asked.any():
        raise TrainingError("this protocol needs users who rated something before a like, got none")
    before = places < np.where(last < 0, len(ratings), last)[ratings.users]
    history = ratings.take(before & asked[ratings.users])
    users = UserBatch.of_histories(history, len(catalogue.genre_names), asks_next=True)
    rows = np.arange(len(history.user_ids), dtype=np.int32)
    return Trial(ratings.take(before), history.user_ids, users, users, rows, ratings.items[last[asked]])


def time_cut(catalogue: Catalogue, ratings: Ratings, seed: int, fold: int = 0) -> Trial:
    """Models see what was rated before a moment; users of later are asked for their latest likes.

    A user's history is the earlier 80 % of the ratings, whenever they were made; the
    targets are the likes among the rest, all of them after the moment.
    """
    times = _times(ratings)
    cut = np.quantile(times, CUTS[(seed - 1 + fold) % len(CUTS)])
    counts = np.diff(ratings.offsets)
    place = np.arange(len(ratings)) - ratings.offsets[ratings.users]
    early = place < np.ceil((1 - LATEST_SHARE) * counts)[ratings.users]
    target = ~early & (times >= cut) & (ratings.stars >= LIKE_STARS)
    asked = np.bincount(ratings.users[target], minlength=len(counts)) > 0
    if not asked.any() or not (times < cut).any():
        raise TrainingError("this protocol needs ratings before a moment and likes after it, got none")
    history = ratings.take(early & asked[ratings.users])
    users = UserBatch.of_histories(history, len(catalogue.genre_names), asks_next=True)
    rows = np.cumsum(asked, dtype=np.int32) - 1
    return Trial(
        ratings.take(times < cut),
        history.user_ids,
        users,
        users,
        rows[ratings.users[target]],
        ratings.items[target],
    )


def cold_items(catalogue: Catalogue, ratings: Ratings, seed: int, fold: int = 0) -> Trial:
    """A tenth of the rated items is kept from training and ranked among itself for whoever likes some.

    The folds of a seed share no item.
    """
    rated = np.unique(ratings.items)
    size = max(1, round(TEST_SHARE * len(rated)))
    cold = np.zeros(len(catalogue), dtype=np.bool_)
    chosen = np.random.default_rng(seed).permutation(rated)[fold * size : (fold + 1) * size]
    cold[chosen] = True
    target = cold[ratings.items] & (ratings.stars >= LIKE_STARS)
    warm = ~cold[ratings.items]
    everyone = len(ratings.user_ids)
    asked = np.bincount(ratings.users[target], minlength=everyone) > 0
    asked &= np.bincount(ratings.users[warm], minlength=everyone) > 0
    if not asked.any():
        raise TrainingError(
            f"items held out must be liked by users who rate others too, got {len(chosen)} items "
            f"of {len(rated)} in fold {fold + 1}"
        )
    history = ratings.take(warm & asked[ratings.users])
    users = UserBatch.of_histories(history, len(catalogue.genre_names))
    target &= asked[ratings.users]
    rows = np.cumsum(asked, dtype=np.int32) - 1
    return Trial(
        ratings.take(warm),
        history.user_ids,
        users,
        users,
        rows[ratings.users[target]],
        ratings.items[target],
        candidates=cold,
    )


def few_likes(_catalogue: Catalogue, trial: Trial, seed: int, *, count: int) -> Trial:
    """The same users and targets, of whose history only `count` random likes are told."""
    known = trial.hidden
    rng = np.random.default_rng([seed, count])
    keys = np.where(known.stars >= LIKE_STARS, rng.random(len(known.items)), 2.0)
    ranks = np.empty(len(keys), dtype=np.int64)
    ranks[np.lexsort((keys, known.owners))] = np.arange(len(keys)) - known.offsets[known.owners]
    return replace(trial, users=_told(known, (ranks < count) & (keys < 2)))


def genres_only(catalogue: Catalogue, trial: Trial, _seed: int, *, ticked: int | None = None) -> Trial:
    """The same users and targets, told by nothing but preferences that their history shows.

    Args:
        catalogue: The items.
        trial: The users with their whole histories.
        ticked: How many favourite genres are told, at five stars; None tells the exact
            lift of every genre.

    Raises:
        TrainingError: If there are no genres, or fewer than are ticked.
    """
    genres = len(catalogue.genre_names)
    if not genres:
        raise TrainingError("this protocol needs genres, got a catalogue without any")
    if ticked is not None and genres < ticked:
        raise TrainingError(f"this protocol needs {ticked} genres to tick, got a catalogue with {genres}")
    shares = genre_shares(liked_histories(trial.hidden, len(catalogue)), catalogue.genres)
    likes = like_matrix(trial.train, len(catalogue))
    base = base_shares(genre_shares(likes, catalogue.genres), likes)
    exact = preferences_from_lift(genre_lift(shares, base))
    untold = _told(trial.hidden, np.zeros(len(trial.hidden.items), dtype=np.bool_))
    return replace(
        trial, users=replace(untold, preferences=exact if ticked is None else _favourites(shares, ticked))
    )


def likes_alone(trial: Trial) -> Trial:
    """The same users and targets; low ratings are neither told nor kept out of the running."""
    known = (_told(batch, batch.stars >= LIKE_STARS) for batch in (trial.users, trial.hidden))
    users, hidden = known
    return replace(trial, users=users, hidden=hidden)


Split: TypeAlias = Callable[[Catalogue, Ratings, int, int], Trial]
"""Takes catalogue, ratings, seed and fold, from 0."""

Telling: TypeAlias = Callable[[Catalogue, Trial, int], Trial]
"""Takes catalogue, trial and seed."""


@dataclass(frozen=True)
class Protocol:
    """How a ranking protocol asks and what it reports."""

    split: Split

    metrics: tuple[str, ...]
    """What is reported; the first decides."""

    peers: tuple[str, ...]
    """Names in `experiments.tuning.PEERS` of those that can answer."""

    tell: Telling | None = None
    """What is told of the split's users, if not their whole histories."""

    def trial(self, catalogue: Catalogue, split: Trial, seed: int, *, history: str = "all") -> Trial:
        """The question that this protocol makes of its split.

        Args:
            catalogue: The items.
            split: What `self.split` gave.
            seed: Of what is told.
            history: "all", or "likes" to neither tell nor hide what a user rated low.
        """
        told = likes_alone(split) if history == "likes" else split
        return told if self.tell is None else self.tell(catalogue, told, seed)


POOLED: dict[Split, str] = {
    new_users: "disjoint tenths of the users with five likes or more",
    cold_items: "disjoint tenths of the rated items",
    time_cut: f"cuts after {', '.join(f'{cut:.0%}' for cut in CUTS)} of the ratings, in turn",
    next_item: "everyone, asked again for each seed of the model",
}
"""What the splits of a protocol are."""

_USUAL = ("ndcg@100", "ndcg@10", "recall@20", "recall@50", "tail recall@50")
_NEXT = ("hit@10", "ndcg@10", "recall@50")
_TIME = ("ndcg@10", "hit@10", "ndcg@100")
_COLD = ("auc", "recall@20", "ndcg@10")
_GENRES = ("popularity x genre",)
_ALL = (*_GENRES, "item-knn", "ease", "ials")
PROTOCOLS = {
    "new-users": Protocol(new_users, _USUAL, _ALL),
    "three-likes": Protocol(new_users, _USUAL, _ALL, partial(few_likes, count=3)),
    "genres-only": Protocol(new_users, _USUAL, _GENRES, genres_only),
    "two-genres": Protocol(new_users, _USUAL, _GENRES, partial(genres_only, ticked=2)),
    "three-genres": Protocol(new_users, _USUAL, _GENRES, partial(genres_only, ticked=3)),
    "next-item": Protocol(next_item, _NEXT, _ALL),
    "time": Protocol(time_cut, _TIME, _ALL),
    "cold-items": Protocol(cold_items, _COLD, ()),
}


def _told(users: UserBatch, told: Flags) -> UserBatch:
    """The same users, described by the interactions that `told` flags; some may have none."""
    return replace(
        users,
        items=users.items[told],
        stars=users.stars[told],
        offsets=np.searchsorted(users.owners[told], np.arange(len(users) + 1)),
    )


def _favourites(shares: Floats, count: int) -> Floats:
    """[B, G] five stars for each user's `count` most liked genres, NaN for the others."""
    ranks = np.argsort(np.argsort(-shares, axis=1, kind="stable"), axis=1)
    return np.where((ranks < count) & (shares > 0), TOP_STARS, np.nan).astype(np.float32)


def _times(ratings: Ratings) -> Longs:
    if ratings.timestamps is None:
        raise TrainingError(
            "this protocol needs timestamps, got ratings without any; use --protocol new-users"
        )
    return ratings.timestamps
