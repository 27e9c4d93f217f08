from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.ratings import Ratings


def catalogue(**changes: Any) -> Catalogue:
    values: dict[str, Any] = {
        "item_ids": ("1", "318", "x"),
        "titles": ("Toy Story", "Shawshank Redemption, The", "Untitled"),
        "years": np.array([1995, 1994, 0], dtype=np.int32),
        "genre_names": ("Comedy", "Drama"),
        "genres": np.array([[1, 0], [1, 1], [0, 0]], dtype=np.bool_),
    }
    return Catalogue(**(values | changes))


def ratings(**changes: Any) -> Ratings:
    """User a rates items 0 and 2, user b item 1, user c items 2 and 0."""
    values: dict[str, Any] = {
        "user_ids": ("a", "b", "c"),
        "users": np.array([0, 0, 1, 2, 2], dtype=np.int32),
        "items": np.array([0, 2, 1, 2, 0], dtype=np.int32),
        "ratings": np.array([4, 5, 1, 2, 3], dtype=np.float32),
        "timestamps": np.array([10, 20, 5, 1, 2], dtype=np.int64),
    }
    return Ratings(**(values | changes))


def test_dataset_refuses_ratings_of_items_it_does_not_have() -> None:
    odd = ratings(items=np.array([0, 3, 1, 2, 0], dtype=np.int32))
    with pytest.raises(DataError, match="catalogue of 3, got row 3"):
        Dataset("d", catalogue(), odd)


def test_digest_is_of_the_data_alone() -> None:
    same = Dataset("one", catalogue(), ratings())
    assert same.digest == Dataset("two", catalogue(), ratings(), dropped=("a row",)).digest


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
