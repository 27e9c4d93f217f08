"""A small world with two tastes: what a recommender should find in it is known."""

import numpy as np
import pytest

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.quiet import import_tensorflow

import_tensorflow()

USERS, ITEMS = 60, 30


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """30 items: the first half funny, the second sad, every third one short; two years unknown."""
    rows = np.arange(ITEMS)
    return Catalogue(
        item_ids=tuple(f"i{row}" for row in rows),
        titles=tuple(f"Item {row}" for row in rows),
        years=np.where(rows % 14 == 13, 0, 1980 + rows).astype(np.int32),
        genre_names=("Funny", "Sad", "Short"),
        genres=np.stack([rows < ITEMS // 2, rows >= ITEMS // 2, rows % 3 == 0], axis=1),
    )


@pytest.fixture(scope="session")
def ratings() -> Ratings:
    """60 users: even ones like the first half of the items and odd ones the second; 12 ratings each."""
    rng = np.random.default_rng(7)
    users, items, values = [], [], []
    for user in range(USERS):
        liked = rng.permutation(ITEMS // 2) + (user % 2) * (ITEMS // 2)
        other = rng.permutation(ITEMS // 2) + (1 - user % 2) * (ITEMS // 2)
        users += [user] * 12
        items += [*liked[:9], *other[:3]]
        values += [*rng.choice([4.0, 4.5, 5.0], 9), *rng.choice([1.0, 2.0, 3.0], 3)]
    return Ratings.from_columns(
        tuple(f"u{user}" for user in range(USERS)),
        np.array(users, dtype=np.int32),
        np.array(items, dtype=np.int32),
        np.array(values, dtype=np.float32),
        rng.permutation(len(users)).astype(np.int64),
    )


@pytest.fixture(scope="session")
def dataset(catalogue: Catalogue, ratings: Ratings) -> Dataset:
    return Dataset(name="two tastes", catalogue=catalogue, ratings=ratings)
