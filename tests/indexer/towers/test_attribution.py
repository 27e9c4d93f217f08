"""Gradients are what differences say, and parts add up to what they are parts of."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.towers import UserTower, user_tower
from deepmoviematch.indexer.towers.attribution import MOST_INTERVALS, Path, attribute
from deepmoviematch.indexer.towers.gradients import backward, forward, unit_backward
from deepmoviematch.indexer.towers.mlp import Mlp

GENRES, ITEMS = 3, 14

stars = st.floats(0.5, 5, width=32)
users = st.tuples(
    st.dictionaries(st.integers(0, GENRES - 1), stars),
    st.dictionaries(st.integers(0, ITEMS - 1), stars),
    st.booleans(),
    st.tuples(
        st.none() | st.integers(0, 23), st.none() | st.integers(0, 6), st.sampled_from(["", "tv", "wall"])
    ),
)
Told = tuple[int | None, int | None, str]
User = tuple[dict[int, float], dict[int, float], bool, Told]
NOTHING: Told = (None, None, "")


@pytest.fixture(scope="session")
def tower(loaded_run: Run) -> UserTower:
    return user_tower(loaded_run.user_tower)


def moment_of(tower: UserTower, told: Told) -> dict[str, int]:
    hour, weekday, device = told
    return tower.moments.moment(hour=hour, weekday=weekday, device=device)


def path_of(tower: UserTower, user: User) -> Path:
    preferences, history, asks_next, told = user
    return tower.path(preferences, history, moment_of(tower, told), asks_next=asks_next)


def vector_of(tower: UserTower, user: User) -> Floats:
    preferences, history, asks_next, told = user
    embed = tower.embed_next_one if asks_next else tower.embed_one
    return embed(preferences, history, moment_of(tower, told))


def some_items(count: int, width: int) -> Floats:
    items = np.random.default_rng(8).normal(size=(count, width))
    unit: Floats = (items / np.linalg.norm(items, axis=1, keepdims=True)).astype(np.float32)
    return unit


def normal(rng: np.random.Generator, *shape: int) -> Any:
    """As precise as differences need it, which the towers are not."""
    return rng.normal(size=shape)


def differences(function: Any, inputs: Floats, step: float) -> Floats:
    """[S, ., Z] how each output of `function` changes with each input."""
    columns = []
    for column in range(inputs.shape[1]):
        ahead, behind = inputs.copy(), inputs.copy()
        ahead[:, column] += step
        behind[:, column] -= step
        columns.append((function(ahead) - function(behind)) / (2 * step))
    return np.stack(columns, axis=-1)


def test_the_gradients_of_dense_layers_are_what_differences_say() -> None:
    rng = np.random.default_rng(1)
    arrays: dict[str, Any] = {}
    for layer, (before, after) in enumerate(pairwise((4, 6, 5, 3))):
        arrays |= {f"mlp_{layer}_kernel": normal(rng, before, after)}
        arrays |= {f"mlp_{layer}_bias": normal(rng, after)}
    mlp = Mlp(Weights({}, arrays), "mlp")
    inputs, wanted = normal(rng, 7, 4), normal(rng, 7, 2, 3)
    outputs, passing = forward(mlp, inputs)
    assert outputs == pytest.approx(mlp(inputs))

    def scores(inputs: Any) -> Any:
        return np.einsum("skd,sd->sk", wanted, mlp(inputs))

    assert backward(mlp, passing, wanted) == pytest.approx(differences(scores, inputs, 1e-6), abs=1e-6)


def test_the_gradients_of_scaling_to_length_1_are_what_differences_say() -> None:
    rng = np.random.default_rng(2)
    vectors, wanted = normal(rng, 7, 4), normal(rng, 7, 2, 4)

    def scores(vectors: Any) -> Any:
        return np.einsum("skd,sd->sk", wanted, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    assert unit_backward(vectors, wanted) == pytest.approx(differences(scores, vectors, 1e-6), abs=1e-6)


def test_a_vector_of_no_length_has_no_gradient() -> None:
    assert not unit_backward(np.zeros((1, 3), dtype=np.float32), np.ones((1, 2, 3), dtype=np.float32)).any()


@pytest.mark.parametrize("told", [NOTHING, (21, 5, "tv")])
@pytest.mark.parametrize("asks_next", [False, True])
def test_the_gradients_of_a_tower_are_what_differences_say(
    tower: UserTower, asks_next: bool, told: Told
) -> None:
    path = path_of(tower, ({1: 5.0, 2: 1.5}, {3: 5.0, 4: 2.0, 9: 4.0}, asks_next, told))
    rng = np.random.default_rng(3)
    points = path.start + np.linspace(0.1, 0.9, 5)[:, None] * (path.end - path.start)
    points = (points + 0.1 * rng.normal(size=points.shape)).astype(np.float32)
    items = some_items(3, path.vectors(points).shape[1])
    found = path.gradients(points, items)
    expected = differences(lambda inputs: path.vectors(inputs) @ items.T, points, 3e-4)
    assert found == pytest.approx(expected, abs=2e-3)


@given(user=users)
def test_a_path_leads_from_the_neutral_user_to_the_user(tower: UserTower, user: User) -> None:
    path = path_of(tower, user)
    start, end = path.vectors(np.stack([path.start, path.end]))
    assert end == pytest.approx(vector_of(tower, user), abs=1e-5)
    assert start == pytest.approx(vector_of(tower, ({}, {}, user[2], NOTHING)), abs=1e-5)


@given(user=users)
def test_parts_add_up_to_the_difference_from_the_neutral_user(tower: UserTower, user: User) -> None:
    vector, neutral = vector_of(tower, user), vector_of(tower, ({}, {}, user[2], NOTHING))
    items = some_items(5, len(vector))
    found = attribute(path_of(tower, user), items)
    assert found.history.shape == (5, len(user[1]))
    assert found.preferences.shape == (5, len(user[0]))
    assert found.moment.shape == (5, len(moment_of(tower, user[3])))
    parts = found.history.sum(axis=1) + found.preferences.sum(axis=1) + found.moment.sum(axis=1)
    assert found.parts.sum(axis=1) == pytest.approx(parts, abs=1e-5)
    assert parts == pytest.approx(items @ vector - items @ neutral, abs=1e-3)
    assert found.score == pytest.approx(items @ vector, abs=1e-5)
    assert found.gap == pytest.approx(items @ (vector - neutral) - parts, abs=1e-5)


@given(user=users)
def test_all_that_inputs_did_is_shared_out(tower: UserTower, user: User) -> None:
    path = path_of(tower, user)
    integrals = np.random.default_rng(4).normal(size=(2, len(path.end))).astype(np.float32)
    history, *others = path.shares(integrals)
    if not user[1]:  # only a history moves the gate, and without one nothing does
        assert history.shape == (2, 0)
    expected = integrals @ (path.end - path.start)
    shared = sum(part.sum(axis=1) for part in (history, *others))
    assert shared == pytest.approx(expected, abs=1e-4)


def test_parts_are_those_of_a_much_finer_line(tower: UserTower) -> None:
    user = ({0: 4.5}, {2: 5.0, 5: 4.0, 8: 1.0, 11: 4.5}, True, (8, 0, "wall"))
    path = path_of(tower, user)
    points = (np.arange(20_000) + 0.5)[:, None] / 20_000
    lines = (path.start + points * (path.end - path.start)).astype(np.float32)
    items = some_items(4, path.vectors(lines[:1]).shape[1])
    history, preferences, moment = path.shares(path.gradients(lines, items).mean(axis=0))
    found = attribute(path, items)
    assert found.history == pytest.approx(history, abs=1e-3)
    assert found.preferences == pytest.approx(preferences, abs=1e-3)
    assert found.moment == pytest.approx(moment, abs=1e-3)


def test_items_that_are_the_same_to_a_tower_have_the_same_part(loaded_run: Run) -> None:
    weights = loaded_run.user_tower
    arrays = {name: array.copy() for name, array in weights.arrays.items()}
    for array in arrays.values():
        if len(array) == ITEMS:  # a table with a row for each item
            array[7] = array[2]
    twins = user_tower(Weights(weights.settings, arrays))
    path = twins.path({}, {2: 5.0, 4: 1.0, 7: 5.0}, asks_next=False)
    found = attribute(path, some_items(3, twins.dim))
    assert found.history[:, 0] == pytest.approx(found.history[:, 2], abs=1e-5)
    assert np.all(np.abs(found.history[:, 1] - found.history[:, 0]) > 1e-3)


def test_a_genre_that_nobody_told_belongs_to_the_items_that_have_it(new_run: Any) -> None:
    loaded = Run.load(new_run("seed"))
    tower, genres = user_tower(loaded.user_tower), loaded.catalogue.genres
    # Items 0 (all genres), 2 (the first and, with 2 % 4, not the third) and 1 (none).
    assert genres[[0, 2, 1]].tolist() == [[True, True, True], [True, False, False], [False, False, False]]
    path = tower.path({1: 3.0}, {0: 4.0, 2: 1.0, 1: 5.0}, asks_next=False)
    assert path.end.tolist() == [2.5, 3.0, 4.0]
    history, preferences, _ = path.shares(np.eye(3, dtype=np.float32))
    # Of the first genre's 2.5 stars item 0 has four fifths; the second was told.
    assert history.tolist() == [pytest.approx([2.0, 0.5, 0]), [0, 0, 0], pytest.approx([4.0, 0, 0])]
    assert preferences.tolist() == [[0], [3.0], [0]]


class Cliff:
    """A score that no gradient tells of: it jumps half way."""

    start, end = np.array([[0], [1]], dtype=np.float32)

    def __init__(self) -> None:
        self.asked = 0

    def vectors(self, inputs: Floats) -> Floats:
        return (inputs > 0.4).astype(np.float32)

    def gradients(self, inputs: Floats, items: Floats) -> Floats:
        self.asked += len(inputs)
        return np.zeros((len(inputs), len(items), 1), dtype=np.float32)

    def shares(self, integrals: Floats) -> tuple[Floats, Floats, Floats]:
        nothing = np.zeros((len(integrals), 0), dtype=np.float32)
        return integrals, nothing, nothing


def test_what_no_refinement_finds_is_told_after_a_bounded_search() -> None:
    path = Cliff()
    found = attribute(path, np.ones((2, 1), dtype=np.float32))
    assert found.gap.tolist() == [1, 1]
    assert path.asked <= 3 * MOST_INTERVALS
