"""One user alone gets the vector that the user gets in a batch."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.data.features import UserBatch
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.towers import UserTower, user_tower

ITEMS, GENRES = 14, 3

stars = st.floats(0.5, 5, width=32)


@pytest.fixture(scope="session")
def tower(loaded_run: Run) -> UserTower:
    return user_tower(loaded_run.user_tower)


@given(
    preferences=st.dictionaries(st.integers(0, GENRES - 1), stars),
    history=st.dictionaries(st.integers(0, ITEMS - 1), stars),
)
def test_one_user_gets_the_vector_of_a_batch(
    tower: UserTower, preferences: dict[int, float], history: dict[int, float]
) -> None:
    [expected] = tower.embed(UserBatch.of(GENRES, [preferences], [history]))
    found = tower.embed_one(preferences, history)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=1e-5)
