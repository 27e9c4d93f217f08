import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from deepmoviematch.data.tables import Floats
from deepmoviematch.trainer.metrics import Interval, RankingMeter, ndcg, recall, top_rows

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


def test_an_item_out_of_the_running_is_no_hit_even_when_the_list_is_short() -> None:
    meter = RankingMeter(2)
    meter.add(np.array([[1.0, -np.inf]], dtype=np.float32), np.array([[False, True]]))
    assert meter.report().per_user["ndcg@100"] == [0]


def test_coverage_is_the_share_of_items_in_someones_first_ten() -> None:
    meter = RankingMeter(20)
    line = -np.arange(20, dtype=np.float32)
    meter.add(np.stack([line, line]), np.eye(2, 20, dtype=np.bool_))
    assert meter.report().coverage == 0.5


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
