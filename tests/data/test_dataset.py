from dataclasses import replace

import numpy as np
import pytest

from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.errors import DataError
from tests.data.small import catalogue, ratings


def test_dataset_refuses_ratings_of_items_it_does_not_have() -> None:
    odd = ratings(items=np.array([0, 3, 1, 2, 0], dtype=np.int32))
    with pytest.raises(DataError, match="catalogue of 3, got row 3"):
        Dataset("d", catalogue(), odd)


def test_digest_is_of_the_data_alone() -> None:
    same = Dataset("one", catalogue(), ratings())
    assert same.digest == Dataset("two", catalogue(), ratings(), dropped=("a row",)).digest


def test_digest_counts_the_order_of_the_users() -> None:
    """Splits draw from it, so that shuffled files are other data to whoever asks a run."""
    rows, shuffled = ratings(), ratings(user_ids=tuple(reversed(ratings().user_ids)))
    assert Dataset("d", catalogue(), rows).digest != Dataset("d", catalogue(), shuffled).digest


@pytest.mark.parametrize(
    "other",
    [
        Dataset("d", catalogue(titles=("Toy", "Shawshank Redemption, The", "Untitled")), ratings()),
        Dataset("d", catalogue(years=np.array([1995, 1994, 1], dtype=np.int32)), ratings()),
        Dataset("d", catalogue(), ratings(timestamps=None)),
        Dataset("d", catalogue(), replace(ratings(), ratings=np.array([4, 5, 1, 2, 4], dtype=np.float32))),
        Dataset("d", catalogue(), ratings(user_ids=("a", "b", "d"))),
    ],
    ids=["title", "year", "times", "rating", "user"],
)
def test_digest_changes_with_the_data(other: Dataset) -> None:
    assert other.digest != Dataset("d", catalogue(), ratings()).digest
