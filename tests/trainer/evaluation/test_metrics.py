import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays

from deepmoviematch.data.arrays import Floats
from deepmoviematch.trainer.evaluation.metrics import auc, ndcg, recall, top_rows

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
