import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from deepmoviematch.data.tables import Floats
from deepmoviematch.trainer.metrics import Interval, RankingMeter, auc, list_figures, ndcg, recall, top_rows

scores = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 12)),
    elements=st.sampled_from([-np.inf, 0, 0.5, 1, 2]),
)


@given(scores, st.integers(1, 14))
def test_the_top_is_that_of_a_stable_sort(scores: Floats, k: int) -> None:
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert top_rows(scores, k).tolist() == expected.tolist()


def test_ndcg_discounts_a_hit_by_its_rank() -> None:
    # Targets at ranks 2 and 3 of the two that exist: (1/log2 3 + 1/log2 4) / (1 + 1/log2 3).
    value = ndcg(np.array([[False, True, True]]), np.array([2]), 3)
    assert value == pytest.approx([(1 / np.log2(3) + 0.5) / (1 + 1 / np.log2(3))])


def test_ndcg_looks_no_further_than_k() -> None:
    assert ndcg(np.array([[False, False, True]]), np.array([1]), 2) == [0]


def test_recall_is_of_what_k_ranks_can_hold() -> None:
    assert recall(np.array([[True, False, True]]), np.array([5]), 2) == [0.5]
    assert recall(np.array([[True, False, True]]), np.array([2]), 3) == [1]


def meter(items: int) -> RankingMeter:
    """Of a catalogue whose popularity falls from row to row; even rows have genre 0, odd ones 1."""
    genres = np.arange(items)[:, None] % 2 == np.arange(2)
    return RankingMeter(genres, np.linspace(0.9, 0.0, items).astype(np.float32))


def test_an_item_out_of_the_running_is_no_hit_even_when_the_list_is_short() -> None:
    measured = meter(2)
    scores = np.array([[1.0, -np.inf]], dtype=np.float32)
    measured.add(scores, np.array([[False, True]]))
    assert measured.report().per_user["ndcg@100"] == [0]


def test_lists_are_described_as_a_whole_by_hand() -> None:
    """Two users, 20 items: rows 0..9 for one and 5..14 for the other."""
    tops = np.stack([np.arange(10), np.arange(5, 15)])
    genres = np.arange(20)[:, None] % 2 == np.arange(2)
    figures = list_figures(tops, genres, np.full(20, 0.25, dtype=np.float32))
    assert figures["coverage@10"] == 15 / 20
    assert figures["overlap@10"] == 0.5  # five of ten
    assert figures["novelty@10"] == 2  # -log2 1/4
    assert figures["diversity@10"] == pytest.approx(25 / 45)  # pairs of an even and an odd row


def test_the_same_list_for_everyone_overlaps_wholly() -> None:
    tops = np.tile(np.arange(10), (4, 1))
    figures = list_figures(tops, np.ones((20, 1), dtype=np.bool_), np.ones(20, dtype=np.float32))
    assert figures["overlap@10"] == 1
    assert figures["diversity@10"] == 0


def test_the_tail_is_all_but_the_most_popular_fifth() -> None:
    """Ten items: rows 0 and 1 are the head; one user wants row 0 and 5, one row 1 alone."""
    measured = meter(10)
    scores = np.tile(-np.arange(10, dtype=np.float32), (2, 1))
    targets = np.zeros((2, 10), dtype=np.bool_)
    targets[0, [0, 5]] = targets[1, 1] = True
    measured.add(scores, targets)
    values = measured.report().per_user["tail recall@50"]
    assert values[0] == 1
    assert np.isnan(values[1])
    assert measured.report().per_user["hit@10"].tolist() == [1, 1]


@given(scores)
def test_the_area_under_the_curve_is_that_of_all_pairs(line: Floats) -> None:
    targets = np.zeros(line.shape, dtype=np.bool_)
    targets[:, 0] = True
    expected = []
    for row in line:
        others = row[1:][np.isfinite(row[1:])]
        wins = (row[0] > others) + 0.5 * (row[0] == others)
        expected.append(wins.mean() if len(others) else 0.5)
    assert auc(line, targets) == pytest.approx(expected)


@settings(max_examples=20)
@given(arrays.arrays(np.float32, st.integers(1, 30), elements=st.floats(0, 1, width=32)))
def test_an_interval_holds_the_mean_and_stays_in_the_range_of_the_values(values: Floats) -> None:
    interval = Interval.of(values, seed=0, rounds=200)
    assert values.min() - 1e-6 <= interval.low <= interval.high <= values.max() + 1e-6
    assert interval.mean == pytest.approx(values.mean(dtype=np.float64))


def test_an_interval_is_as_wide_as_the_normal_approximation_says() -> None:
    values = np.random.default_rng(0).random(400).astype(np.float32)
    interval = Interval.of(values, seed=0)
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.1)


def test_a_figure_that_a_user_does_not_have_is_left_out_of_the_mean() -> None:
    values = np.array([0.5, np.nan, 1.0], dtype=np.float32)
    assert Interval.of(values, seed=0).mean == 0.75
    assert np.isnan(Interval.of(values[1:2], seed=0).mean)


def test_a_ratio_is_of_means_and_of_the_same_users() -> None:
    theirs = np.random.default_rng(0).random(50).astype(np.float32)
    ratio = Interval.of_ratio(2 * theirs, theirs, seed=0)
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((2, 2, 2))
