"""One user alone gets the vector that the user gets in a batch."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.context import FEATURES
from deepmoviematch.data.features import FEW_LIKES, SUMMARIES, WINDOW
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.towers import UserTower, item_tower, user_tower
from deepmoviematch.indexer.towers.mlp import unit

ITEMS, GENRES = 14, 3

stars = st.floats(0.5, 5, width=32)


@pytest.fixture(scope="session")
def tower(loaded_run: Run) -> UserTower:
    return user_tower(loaded_run.user_tower)


@given(
    preferences=st.dictionaries(st.integers(0, GENRES - 1), stars),
    history=st.dictionaries(st.integers(0, ITEMS - 1), stars),
    told=st.tuples(st.integers(-1, 23), st.integers(-1, 6), st.integers(-1, 1)),
)
def test_one_user_gets_the_vectors_of_a_batch(
    tower: UserTower,
    preferences: dict[int, float],
    history: dict[int, float],
    told: tuple[int, int, int],
) -> None:
    users = UserBatch.of(GENRES, [preferences], [history])
    users = replace(users, moments=np.array([told], dtype=np.int32))
    moment = {name: row for name, row in zip(FEATURES, told, strict=True) if row >= 0}
    moment = {name: row for name, row in moment.items() if name in tower.moments.features}
    for embed, embed_one in ((tower.embed, tower.embed_one), (tower.embed_next, tower.embed_next_one)):
        [expected] = embed(users)
        found = embed_one(preferences, history, moment)
        assert found.dtype == np.float32
        assert found == pytest.approx(expected, abs=1e-5)


@given(
    preferences=st.dictionaries(st.integers(0, GENRES - 1), stars),
    history=st.dictionaries(st.integers(0, ITEMS - 1), stars, min_size=1),
    random=st.randoms(use_true_random=False),
)
def test_a_history_in_another_order_gets_the_same_taste_to_the_bit(
    tower: UserTower, preferences: dict[int, float], history: dict[int, float], random: Random
) -> None:
    entries = list(history.items())
    random.shuffle(entries)
    orders = [history, dict(entries)]
    users = UserBatch.of(GENRES, [preferences] * 2, orders)
    for one, other in (
        [tower.embed_one(preferences, each) for each in orders],
        [tower.embed_one({}, each) for each in orders],
        tower.embed_histories(orders),
        tower.embed(users),
    ):
        assert one.tolist() == other.tolist()


@pytest.mark.parametrize("hidden", [(), (3,)], ids=["step by step", "looked up"])
def test_likes_that_are_told_alone_are_read_from_a_table_of_their_own(hidden: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    size = FEW_LIKES + 3
    tables = {name: rng.normal(size=(size, 2)).astype(np.float32) for name in ("likes", "alone", "others")}
    arrays = tables | _silent("deep", 2 + 2 + 1 + 2, *hidden, 2) | _silent("taste", 1, 2)
    about = {"kind": "taste", "gate": 1.0}
    tower = user_tower(Weights(about, arrays))
    likes, alone, others = tables.values()
    of_old = user_tower(Weights(about, {name: arrays[name] for name in arrays if name != "alone"}))
    many, few = dict.fromkeys(range(FEW_LIKES + 1), 4.0), dict.fromkeys(range(FEW_LIKES), 4.0)
    both = likes[: len(many)].sum(axis=0) / len(many) ** 0.5 + others[-1]
    for each, history, expected in (
        (tower, many, alone[: len(many)].sum(axis=0)),
        (tower, few, likes[: len(few)].sum(axis=0)),  # who may have rated nothing else
        (tower, many | {size - 1: 1.0}, both),
        (tower, {2: 1.0}, others[2]),
        (of_old, many, likes[: len(many)].sum(axis=0)),
    ):
        [wanted] = unit(expected[None])
        assert each.embed_one({}, history)[:-1] == pytest.approx(wanted, abs=1e-6)
        assert each.embed_histories([history])[0, :-1] == pytest.approx(wanted, abs=1e-6)
        assert each.embed(UserBatch.of(1, [{}], [history]))[0, :-1] == pytest.approx(wanted, abs=1e-6)


def test_items_are_near_that_users_agree_on_and_in_towers_of_old_that_lie_the_same_way() -> None:
    vectors = np.array([[1, 1], [1, -1], [0, 2]], dtype=np.float32)
    arrays = {"ids": vectors, **_silent("content", 2, 2)}
    about = {"kind": "identity", "year_mean": 0, "year_scale": 1, "largest_norm": 2}
    agreement = np.diag([3, 1]).astype(np.float32)
    embedded = np.pad(vectors * np.float32(0.5), ((0, 0), (0, 1)), constant_values=0.5)
    for tower, wanted in (
        (item_tower(Weights(about, arrays)), vectors),
        (item_tower(Weights(about, arrays | {"agreement": agreement})), vectors @ agreement),
    ):
        found = tower.directions(embedded)
        assert found[:, :-1] == pytest.approx(unit(wanted), abs=1e-6)
        assert not found[:, -1].any()


def test_an_agreement_on_other_vectors_is_refused() -> None:
    ids, agreement = np.ones((3, 2), dtype=np.float32), np.eye(3, dtype=np.float32)
    about = {"kind": "identity", "year_mean": 0, "year_scale": 1, "largest_norm": 2}
    with pytest.raises(GenerationError, match=r"agreement of \(3, 3\) for ids of \(3, 2\)"):
        item_tower(Weights(about, {"ids": ids, "agreement": agreement, **_silent("content", 2, 2)}))


def _silent(name: str, *widths: int) -> dict[str, Floats]:
    """An MLP of these widths that says 0."""
    return {
        f"{name}_{place}_{part}": np.zeros(shape, dtype=np.float32)
        for place, (inputs, outputs) in enumerate(pairwise(widths))
        for part, shape in (("kernel", (inputs, outputs)), ("bias", (outputs,)))
    }


def test_order_counts_for_what_is_next_and_not_for_taste(new_run: Callable[[], Path]) -> None:
    tower = user_tower(Run.load(new_run()).user_tower)
    history = {3: 5.0, 4: 4.0, 7: 1.0}
    backward = dict(reversed(history.items()))
    assert tower.embed_one({}, history) == pytest.approx(tower.embed_one({}, backward), abs=1e-6)
    difference = tower.embed_next_one({}, history) - tower.embed_next_one({}, backward)
    assert np.abs(difference).max() > 0.01


def test_what_is_next_reads_no_further_back_than_the_window() -> None:
    """With more items than the window holds, the oldest count for taste alone."""
    rng = np.random.default_rng(0)
    size = WINDOW + 5
    arrays = {
        "likes": rng.normal(size=(size, 2)),
        "others": rng.normal(size=(size, 2)),
        "deep_0_kernel": np.zeros((2 + 2 + 1 + 2, 2)),
        "deep_0_bias": np.zeros(2),
        "taste_0_kernel": np.zeros((1, 2)),
        "taste_0_bias": np.zeros(2),
        "recent": rng.normal(size=(size, 3)),
        "transitions": rng.normal(size=(size, 4)),
        "next_0_kernel": np.zeros((3 * SUMMARIES, 2)),
        "next_0_bias": np.zeros(2),
    }
    tower = user_tower(
        Weights(
            {"kind": "taste", "gate": 1.0}, {name: each.astype(np.float32) for name, each in arrays.items()}
        )
    )
    history = dict.fromkeys(range(size), 5.0)
    ages = np.arange(WINDOW)
    weights = 0.8**ages / np.linalg.norm(0.8**ages)
    follows = weights @ arrays["transitions"][::-1][:WINDOW]
    found = tower.embed_next_one({}, history)
    expected = np.concatenate([tower.embed_one({}, history)[:-1], follows, [0]])
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
