import numpy as np
import pytest

from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.evaluation.lists import list_figures, overlap, overlap_of_unlike_users


def test_lists_are_described_as_a_whole_by_hand() -> None:
    """Two users, 20 items: rows 0..9 for one and 5..14 for the other."""
    tops = np.stack([np.arange(10), np.arange(5, 15)])
    genres = np.arange(20)[:, None] % 2 == np.arange(2)
    figures = list_figures(tops, genres, np.full(20, 0.25, dtype=np.float32))
    assert figures["coverage@10"] == 15 / 20
    assert figures["overlap@10"] == 0.5  # five of ten
    assert figures["novelty@10"] == 2  # -log2 1/4
    assert figures["diversity@10"] == pytest.approx(25 / 45)  # pairs of an even and an odd row


def test_an_item_that_nobody_liked_is_a_bit_more_of_a_surprise_than_the_least_liked() -> None:
    popularity = np.array([0.5, 0.125, 0.0], dtype=np.float32)
    for users in (1, 4000):  # whoever is asked
        figures = list_figures(np.tile([[0, 1, 2]], (users, 1)), np.ones((3, 1), dtype=np.bool_), popularity)
        assert figures["novelty@10"] == pytest.approx((1 + 3 + 4) / 3)
    nobody = list_figures(np.array([[0, 1]]), np.ones((2, 1), dtype=np.bool_), np.zeros(2, np.float32))
    assert nobody["novelty@10"] == 1


def test_the_same_list_for_everyone_overlaps_wholly() -> None:
    tops = np.tile(np.arange(10), (4, 1))
    figures = list_figures(tops, np.ones((20, 1), dtype=np.bool_), np.ones(20, dtype=np.float32))
    assert figures["overlap@10"] == 1
    assert figures["diversity@10"] == 0


def test_overlap_is_the_mean_over_all_pairs_of_users() -> None:
    tops = np.array([[0, 1], [0, 2], [3, 4]])
    assert overlap(tops) == pytest.approx((1 / 2 + 0 + 0) / 3)


def tellers(*items: int) -> UserBatch:
    """A user for each item, which is all of the history."""
    return UserBatch.of(2, [{}] * len(items), [{item: 5.0} for item in items])


def test_users_who_tell_the_same_count_as_one() -> None:
    """Five users tell different things and are shown different things; twenty more are like the first."""
    users = tellers(0, 1, 2, 3, 4, *[0] * 20)
    tops = np.array([[user] for user in [0, 1, 2, 3, 4, *[0] * 20]])
    assert overlap(tops) > 0.6
    assert overlap_of_unlike_users(tops, users, np.full(25, 100)) == 0


@pytest.mark.parametrize(("asked", "candidates"), [(4, 100), (6, 15)], ids=["too few users", "too few items"])
def test_nothing_is_said_where_lists_must_be_alike(asked: int, candidates: int) -> None:
    tops = np.tile(np.arange(10), (asked, 1))
    assert overlap_of_unlike_users(tops, tellers(*range(asked)), np.full(asked, candidates)) is None
    twice = np.tile(tops, (2, 1))
    assert overlap_of_unlike_users(twice, tellers(*range(2 * asked)), np.full(2 * asked, 100)) == 1
