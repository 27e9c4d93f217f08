import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from deepmoviematch.data.tables import Floats
from deepmoviematch.trainer.evaluation.metrics import Interval, RankingMeter, auc, ndcg, recall, top_rows

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
    interval = Interval.of(values, seed=0)
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


def test_a_difference_is_of_means_and_of_the_same_users() -> None:
    theirs = np.random.default_rng(0).random(50).astype(np.float32)
    difference = Interval.of_difference(theirs + 0.25, theirs, seed=0)
    assert (difference.mean, difference.low, difference.high) == pytest.approx((0.25, 0.25, 0.25), abs=1e-6)


def test_a_person_who_was_asked_twice_is_resampled_whole() -> None:
    """Asking everyone again teaches nothing new, so the interval stays as wide."""
    values = np.random.default_rng(0).random(60).astype(np.float32)
    once = Interval.of(values, seed=0)
    twice = Interval.of(np.tile(values, 2), seed=0, persons=np.tile(np.arange(60), 2))
    assert (twice.mean, twice.low, twice.high) == pytest.approx((once.mean, once.low, once.high))
    assert Interval.of(np.tile(values, 2), seed=0).high < once.high


def test_a_ratio_to_nothing_is_not_a_number_and_no_warning() -> None:
    ratio = Interval.of_ratio(np.ones(5, dtype=np.float32), np.zeros(5, dtype=np.float32), seed=0)
    assert not np.isfinite([ratio.mean, ratio.low, ratio.high]).any()


def test_a_slice_counts_the_hits_on_its_targets_alone() -> None:
    """Ten items ranked 0..9; the user wants rows 0 and 3, of which row 3 alone has genre 1."""
    genres = np.arange(10)[:, None] % 2 == np.arange(2)
    bands = {"genre": {"even": genres[:, 0], "odd": genres[:, 1]}}
    sliced = RankingMeter(genres, np.ones(10, dtype=np.float32), bands=bands, sliced="ndcg@10")
    targets = np.zeros((2, 10), dtype=np.bool_)
    targets[0, [0, 3]] = targets[1, 2] = True
    sliced.add(np.tile(-np.arange(10, dtype=np.float32), (2, 1)), targets)
    parts = sliced.report().slices["genre"]
    assert parts["even"] == pytest.approx([1, 1 / np.log2(4)])
    assert parts["odd"] == pytest.approx([1 / np.log2(5), np.nan], nan_ok=True)


def test_lists_are_measured_as_the_scores_that_they_come_from() -> None:
    rng = np.random.default_rng(2)
    ranked = rng.permuted(np.tile(np.arange(30), (8, 1)), axis=1)
    scores = np.empty((8, 30), dtype=np.float32)
    np.put_along_axis(scores, ranked, -np.arange(30, dtype=np.float32)[None], axis=1)
    targets = rng.random((8, 30)) < 0.2
    targets[:, 0] = True
    by_lists, by_scores = meter(30), meter(30)
    by_lists.add_lists(ranked, targets)
    by_scores.add(scores, targets)
    for name, values in by_scores.report().per_user.items():
        assert by_lists.report().per_user[name] == pytest.approx(values, nan_ok=True)


def test_an_unknown_item_takes_its_place_in_a_list() -> None:
    measured = meter(5)
    measured.add_lists(np.array([[-1, 2]]), np.array([[False, False, True, False, False]]))
    assert measured.report().per_user["ndcg@10"] == pytest.approx([1 / np.log2(3)])
