import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st

from deepmoviematch.data.arrays import Doubles, Floats, Ints
from deepmoviematch.trainer.models.candidates import Candidates, columns_of, inclusion, systematic
from deepmoviematch.trainer.models.losses import cross_entropy, logit_mask, soft_cross_entropy

weights = st.lists(st.integers(0, 50), min_size=3, max_size=40).map(lambda found: np.array(found, float))


@given(weights, st.integers(1, 45))
def test_chances_add_up_to_what_is_drawn_and_keep_the_proportions(given_weights: Doubles, size: int) -> None:
    chances = inclusion(given_weights, size)
    assert chances.sum() == pytest.approx(min(size, (given_weights > 0).sum()))
    assert ((chances > 0) == (given_weights > 0)).all()
    assert (chances <= 1).all()
    below = chances < 1
    ratios = chances[below & (given_weights > 0)] / given_weights[below & (given_weights > 0)]
    assert ratios == pytest.approx(np.full(len(ratios), ratios[0] if len(ratios) else 0))


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=20))
def test_each_is_drawn_as_often_as_its_chance_says(given_chances: list[float]) -> None:
    """Over all offsets: what is drawn changes only where one of the sums' fractions is passed."""
    chances = np.array(given_chances)
    edges = np.unique(np.concatenate([[0, 1], np.cumsum(chances) % 1]))
    often = sum(
        (right - left) * systematic(chances, (left + right) / 2) for left, right in itertools.pairwise(edges)
    )
    assert often == pytest.approx(chances, abs=1e-9)


def a_step(seed: int, items: int, drawn: int) -> tuple[Candidates, Ints, Floats, np.random.Generator]:
    """Candidates, the items that two users ask for, their logits, and chance."""
    rng = np.random.default_rng(seed)
    candidates = Candidates(rng.integers(0, 30, items), np.arange(items) != 3, drawn)
    asked = rng.choice(np.flatnonzero(np.arange(items) != 3), 2, replace=False).astype(np.int32)
    return candidates, asked, rng.normal(scale=2, size=(2, items)).astype(np.float32), rng


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), items=st.integers(6, 40), drawn=st.integers(2, 10))
def test_the_sum_under_a_sampled_softmax_is_the_full_one_on_average(
    seed: int, items: int, drawn: int
) -> None:
    """Each sign and scale but the right one is off: 1 / chance is what undoes the draw."""
    candidates, asked, logits, _ = a_step(seed, items, drawn)
    known = tf.constant([[0, 5]], dtype=tf.int64) if 5 not in asked else tf.zeros((0, 2), tf.int64)
    full = np.exp(logits.astype(np.float64))
    full[:, 3] = 0
    full[tuple(known.numpy().T)] = 0
    exact = full.sum(axis=1, keepdims=True)
    kept = np.isin(np.arange(items), asked) | (candidates.chances == 1)
    open_chances = candidates.chances[~kept & (candidates.chances > 0)]
    edges = np.unique(np.concatenate([[0, 1], np.cumsum(open_chances) % 1]))
    sums = np.zeros((2, 2))
    for left, right in itertools.pairwise(edges):
        rows, correction = candidates.draw(asked, _Fixed((left + right) / 2))
        there, places = columns_of(known.numpy()[:, 1], rows)
        cells = np.column_stack([known.numpy()[there, 0], places])
        drawn = logits[:, rows] + logit_mask(tf.constant(correction), tf.constant(cells, tf.int64), 2)
        columns = columns_of(asked, rows)[1]
        found = np.stack([cross_entropy(drawn, [column] * 2) for column in columns], axis=1)
        sums += (right - left) * np.exp(logits[:, asked] + found)  # the sum under the softmax
    assert sums == pytest.approx(np.broadcast_to(exact, (2, 2)), rel=1e-3)


class _Fixed(np.random.Generator):
    """Draws one number only, the one that it was given."""

    def __init__(self, number: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._number = number

    def random(self, *_: object, **__: object) -> float:  # type: ignore[override]
        return self._number


@given(seed=st.integers(0, 10_000), items=st.integers(6, 40))
def test_where_all_are_drawn_the_loss_is_the_full_one(seed: int, items: int) -> None:
    candidates, asked, _, rng = a_step(seed, items, items)
    rows, correction = candidates.draw(asked, rng)
    assert rows.tolist() == [row for row in range(items) if row != 3]
    assert not correction.any()


def test_a_teacher_is_followed_alike_through_a_draw() -> None:
    """The teacher's share of what is drawn stands for its share of all: loss and gradient come near."""
    items, rng = 300, np.random.default_rng(1)
    candidates = Candidates(np.arange(items), np.ones(items, dtype=np.bool_), 200)
    logits, taught = rng.normal(size=(2, 1, items)).astype(np.float32)

    def followed(rows: Ints, correction: Floats) -> tuple[float, Floats]:
        free = tf.Variable(logits)
        with tf.GradientTape() as tape:
            teacher = tf.nn.softmax(taught[:, rows] + correction)
            loss = tf.reduce_sum(
                soft_cross_entropy(tf.gather(free, rows, axis=1) + correction, teacher, correction)
            )
        return float(loss), tf.convert_to_tensor(tape.gradient(loss, free)).numpy()

    loss, gradient = followed(np.arange(items, dtype=np.int32), np.zeros(items, np.float32))
    asked, offsets = np.array([0], dtype=np.int32), np.linspace(0.005, 0.995, 100)
    drawn = [followed(*candidates.draw(asked, _Fixed(offset))) for offset in offsets]
    assert np.mean([each for each, _ in drawn]) == pytest.approx(loss, rel=0.01)
    difference = np.mean([each for _, each in drawn], axis=0) - gradient
    assert np.linalg.norm(difference) < 0.1 * np.linalg.norm(gradient)


def test_columns_are_found_of_those_that_are_there() -> None:
    rows, candidates = np.array([9, 2, 4, 1]), np.array([2, 4, 7])
    there, columns = columns_of(rows, candidates)
    assert there.tolist() == [False, True, True, False]
    assert columns.tolist() == [0, 1]
