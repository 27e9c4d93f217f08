from dataclasses import replace

import numpy as np
import pytest

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.features import LIKE_STARS
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation import protocols
from deepmoviematch.trainer.evaluation.protocols import PROTOCOLS, Trial


def trial_of(name: str, catalogue: Catalogue, ratings: Ratings, seed: int, fold: int = 0) -> Trial:
    protocol = PROTOCOLS[name]
    return protocol.trial(catalogue, protocol.split(catalogue, ratings, seed, fold), seed)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
@pytest.mark.parametrize("seed", [1, 2])
def test_targets_are_likes_that_training_never_saw(
    name: str, seed: int, catalogue: Catalogue, ratings: Ratings
) -> None:
    trial = trial_of(name, catalogue, ratings, seed)
    # Everybody rates an item once, so the training pairs of any user with a target's user's id tell.
    liked = {
        (r.item(), s.item()) for r, s in zip(ratings.items, ratings.stars, strict=True) if s >= LIKE_STARS
    }
    assert {item for item, _ in liked} >= set(trial.target_items.tolist())
    seen = len(trial.train) + len(trial.target_items)
    assert seen <= len(ratings)


@pytest.mark.parametrize("name", ["new-users", "three-likes", "genres-only", "two-genres", "three-genres"])
def test_users_held_out_whole_are_not_trained_on(name: str, catalogue: Catalogue, ratings: Ratings) -> None:
    trial = trial_of(name, catalogue, ratings, 1)
    assert len(trial.train.user_ids) == 54
    assert len(trial.users) == 6


def test_protocols_of_the_same_users_ask_for_the_same_targets(catalogue: Catalogue, ratings: Ratings) -> None:
    names = ("new-users", "three-likes", "genres-only", "two-genres")
    trials = [trial_of(name, catalogue, ratings, 3) for name in names]
    for trial in trials[1:]:
        assert trial.target_items.tolist() == trials[0].target_items.tolist()
        assert trial.hidden.items.tolist() == trials[0].hidden.items.tolist()


def test_three_likes_are_told_and_nothing_else(catalogue: Catalogue, ratings: Ratings) -> None:
    trial = trial_of("three-likes", catalogue, ratings, 1)
    assert trial.users.history_sizes.tolist() == [3] * len(trial.users)
    assert (trial.users.stars >= LIKE_STARS).all()
    known = set(zip(trial.hidden.owners.tolist(), trial.hidden.items.tolist(), strict=True))
    assert set(zip(trial.users.owners.tolist(), trial.users.items.tolist(), strict=True)) <= known


def test_ticked_genres_are_the_most_liked_ones(catalogue: Catalogue, ratings: Ratings) -> None:
    trial = protocols.genres_only(catalogue, protocols.new_users(catalogue, ratings, 1), 1, ticked=1)
    assert trial.users.history_sizes.tolist() == [0] * len(trial.users)
    liked = trial.hidden.stars >= LIKE_STARS
    for user in range(len(trial.users)):
        own = liked & (trial.hidden.owners == user)
        most = catalogue.genres[trial.hidden.items[own]].sum(axis=0).argmax()
        assert np.flatnonzero(trial.users.preferences[user] == 5).tolist() == [most]


def test_the_next_item_is_the_last_like_and_nothing_later_is_known(
    catalogue: Catalogue, ratings: Ratings
) -> None:
    trial = protocols.next_item(catalogue, ratings, 1)
    assert trial.users.asks_next.all()
    for row, item in enumerate(trial.target_items):
        name = trial.train.user_ids[row]
        user = ratings.user_ids.index(name)
        mine = slice(*ratings.offsets[user : user + 2])
        last = np.flatnonzero(ratings.stars[mine] >= LIKE_STARS)[-1]
        assert ratings.items[mine][last] == item
        assert trial.users.slice(row, row + 1).items.tolist() == ratings.items[mine][:last].tolist()


def test_after_a_cut_in_time_nothing_leaks_back(catalogue: Catalogue, ratings: Ratings) -> None:
    trial = protocols.time_cut(catalogue, ratings, 1)
    assert ratings.timestamps is not None
    assert trial.train.timestamps is not None
    cut = np.quantile(ratings.timestamps, protocols.CUTS[0])
    assert trial.train.timestamps.max() < cut
    late = set(ratings.items[ratings.timestamps >= cut].tolist())
    assert set(trial.target_items.tolist()) <= late


def test_cold_items_are_never_trained_on_and_ranked_among_themselves(
    catalogue: Catalogue, ratings: Ratings
) -> None:
    trial = protocols.cold_items(catalogue, ratings, 1)
    assert trial.candidates is not None
    cold = set(np.flatnonzero(trial.candidates).tolist())
    assert len(cold) == 3
    assert set(trial.target_items.tolist()) <= cold
    assert not cold & set(trial.train.items.tolist())
    assert not cold & set(trial.users.items.tolist())


@pytest.mark.parametrize("name", ["next-item", "time"])
def test_order_needs_times(name: str, catalogue: Catalogue, ratings: Ratings) -> None:
    timeless = Ratings(ratings.user_ids, ratings.users, ratings.items, ratings.ratings, None)
    with pytest.raises(TrainingError, match="needs timestamps, got ratings without any"):
        trial_of(name, catalogue, timeless, 1)


def test_order_needs_different_times(catalogue: Catalogue, ratings: Ratings) -> None:
    at_once = replace(ratings, timestamps=np.full(len(ratings), 5, dtype=np.int64))
    with pytest.raises(TrainingError, match="needs users who rated at different times, got none"):
        trial_of("next-item", catalogue, at_once, 1)


def test_a_trial_leaves_likes_to_train_on(catalogue: Catalogue, ratings: Ratings) -> None:
    trial = trial_of("new-users", catalogue, ratings, 1)
    with pytest.raises(TrainingError, match="needs likes to train on, got none"):
        replace(trial, train=ratings.take(ratings.stars < LIKE_STARS))


def test_a_trial_whose_target_is_known_is_refused(ratings: Ratings) -> None:
    users = UserBatch.of(3, [{}], [{4: 5.0}])
    with pytest.raises(TrainingError, match="history and targets must not overlap"):
        Trial(ratings, ("a",), users, users, np.array([0], dtype=np.int32), np.array([4], dtype=np.int32))


def test_targets_are_sorted_by_user(catalogue: Catalogue, ratings: Ratings) -> None:
    trial = trial_of("new-users", catalogue, ratings, 1)
    with pytest.raises(TrainingError, match="must be sorted by user"):
        replace(trial, target_users=trial.target_users[::-1], target_items=trial.target_items[::-1])


def test_folds_of_a_seed_share_no_user(catalogue: Catalogue, ratings: Ratings) -> None:
    asked = [trial_of("new-users", catalogue, ratings, 1, fold).user_ids for fold in range(10)]
    assert sorted(name for names in asked for name in names) == sorted(ratings.user_ids)
    with pytest.raises(DataError, match="folds must not share users, got 11 folds of 6 from 60 users"):
        trial_of("new-users", catalogue, ratings, 1, 10)


def test_folds_of_a_seed_share_no_cold_item(catalogue: Catalogue, ratings: Ratings) -> None:
    cold = [trial_of("cold-items", catalogue, ratings, 1, fold).candidates for fold in range(10)]
    rows = [row for flags in cold if flags is not None for row in np.flatnonzero(flags).tolist()]
    assert sorted(rows) == list(range(len(catalogue)))
    with pytest.raises(TrainingError, match="got 0 items of 30 in fold 11"):
        trial_of("cold-items", catalogue, ratings, 1, 10)


def test_splits_in_time_cut_at_different_moments(catalogue: Catalogue, ratings: Ratings) -> None:
    sizes = [len(trial_of("time", catalogue, ratings, 1, fold).train) for fold in range(5)]
    assert sizes == [round(cut * len(ratings)) for cut in protocols.CUTS]


def test_likes_alone_leave_out_what_was_rated_low(catalogue: Catalogue, ratings: Ratings) -> None:
    whole = protocols.new_users(catalogue, ratings, 1)
    likes = protocols.likes_alone(whole)
    assert whole.hidden.stars.min() < LIKE_STARS <= likes.hidden.stars.min()
    for user in range(len(whole.users)):
        one = whole.users.slice(user, user + 1)
        assert likes.users.slice(user, user + 1).items.tolist() == one.items[one.stars >= LIKE_STARS].tolist()
    assert likes.target_items.tolist() == whole.target_items.tolist()


def test_genres_are_needed_to_tell_them(catalogue: Catalogue, ratings: Ratings) -> None:
    bare = replace(catalogue, genre_names=(), genres=np.zeros((30, 0), dtype=np.bool_))
    with pytest.raises(TrainingError, match="needs genres, got a catalogue without any"):
        trial_of("two-genres", bare, ratings, 1)


@pytest.mark.parametrize(("count", "refused"), [(1, {2, 3}), (2, {3}), (3, set())])
def test_no_more_genres_are_ticked_than_there_are(
    count: int, refused: set[int], catalogue: Catalogue, ratings: Ratings
) -> None:
    few = replace(catalogue, genre_names=catalogue.genre_names[:count], genres=catalogue.genres[:, :count])
    assert len(trial_of("genres-only", few, ratings, 1).users) == 6
    for ticked, name in ((2, "two-genres"), (3, "three-genres")):
        if ticked in refused:
            rule = f"needs {ticked} genres to tick, got a catalogue with {count}"
            with pytest.raises(TrainingError, match=rule):
                trial_of(name, few, ratings, 1)
        else:
            assert len(trial_of(name, few, ratings, 1).users) == 6


def test_targets_are_flagged_block_by_block(catalogue: Catalogue, ratings: Ratings) -> None:
    trial = protocols.new_users(catalogue, ratings, 1)
    blocks = [trial.targets(first, first + 4, len(catalogue)) for first in (0, 4)]
    assert [len(block) for block in blocks] == [4, 2]
    users, items = np.nonzero(np.concatenate(blocks))
    pairs = sorted(zip(trial.target_users.tolist(), trial.target_items.tolist(), strict=True))
    assert pairs == list(zip(users.tolist(), items.tolist(), strict=True))
