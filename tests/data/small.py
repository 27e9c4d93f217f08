"""A catalogue of three items and ratings of it, which tests change."""

from typing import Any

import numpy as np

from deepmoviematch.data.catalogue import Catalogue
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
