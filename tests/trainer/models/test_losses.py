from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, strategies as st

from deepmoviematch.data.arrays import Floats
from deepmoviematch.trainer.models.losses import (
    MASKED,
    cross_entropy,
    logit_mask,
    shares_of,
    soft_cross_entropy,
    target_counts,
    triplet_loss,
)

ALL = tf.zeros(3)
"""The correction of three items that are all drawn for certain."""


def cells(*pairs: tuple[int, int]) -> tf.Tensor:
    """[., 2] users and items."""
    return tf.constant(pairs, dtype=tf.int64, shape=(len(pairs), 2))


def test_what_is_known_is_out_of_the_running_and_the_rest_is_corrected() -> None:
    added = logit_mask(tf.constant([0.0, 1.0, 2.0]), cells((0, 1), (1, 2)), tf.constant(2))
    assert added.numpy().tolist() == [[0, MASKED, 2], [0, 1, MASKED]]


def test_an_item_that_is_known_has_no_probability() -> None:
    logits = tf.constant([[1.0, 50.0, 1.0], [2.0, 2.0, 90.0]]) + logit_mask(ALL, cells((0, 1), (1, 2)), 2)
    chances = [tf.exp(-cross_entropy(logits, tf.constant([column] * 2))).numpy() for column in range(3)]
    assert np.transpose(chances) == pytest.approx(np.array([[0.5, 0, 0.5], [0.5, 0.5, 0]]), abs=1e-6)


def test_the_cross_entropy_of_two_targets_is_that_of_each_on_average() -> None:
    targets = cells((0, 0), (0, 1))
    wanted = shares_of(targets, target_counts(targets, 1), 3)
    assert wanted.numpy().tolist() == [[0.5, 0.5, 0]]
    logits = np.log([[0.2, 0.3, 0.5]]).astype(np.float32)
    assert soft_cross_entropy(logits, wanted, ALL).numpy() == pytest.approx(
        [-np.log(0.2 * 0.3) / 2], rel=1e-6
    )


def test_a_user_without_targets_asks_for_nothing() -> None:
    targets = cells((1, 0))
    assert shares_of(targets, target_counts(targets, 2), 2).numpy().tolist() == [[0, 0], [1, 0]]


def test_cross_entropy_counts_what_the_draw_hides() -> None:
    """An item in the draw with a chance of a quarter stands for four like it."""
    correction = tf.constant([0.0, np.log(4.0)])
    logits, asked = tf.zeros((1, 2)) + logit_mask(correction, cells(), 1), tf.constant([[1.0, 0.0]])
    assert soft_cross_entropy(logits, asked, correction).numpy() == pytest.approx([np.log(5)])
    assert soft_cross_entropy(logits, asked[:, ::-1], correction).numpy() == pytest.approx([np.log(5)])
    assert cross_entropy(logits, tf.constant([0])).numpy() == pytest.approx([np.log(5)])


def test_targets_are_counted_user_by_user() -> None:
    assert target_counts(cells((0, 4), (2, 1), (2, 7)), 4).numpy().tolist() == [1, 0, 2, 0]


def test_the_cross_entropy_is_least_where_the_model_agrees_with_the_teacher() -> None:
    teacher = tf.constant([[0.7, 0.2, 0.1]])
    logits = tf.Variable(tf.math.log(teacher))
    with tf.GradientTape() as tape:
        loss = soft_cross_entropy(logits, teacher, ALL)
    assert tape.gradient(loss, logits).numpy() == pytest.approx(np.zeros((1, 3)), abs=1e-6)
    entropy = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1))
    assert loss.numpy() == pytest.approx([entropy], rel=1e-6)


@given(st.lists(st.floats(-3, 3, width=32), min_size=6, max_size=6))
def test_cross_entropy_pushes_chances_towards_what_is_wanted(numbers: list[float]) -> None:
    """Its gradient is the softmax less what is wanted, in either form."""
    logits = tf.Variable(np.array(numbers, dtype=np.float32).reshape(2, 3))
    wanted = np.eye(3, dtype=np.float32)[[2, 0]]

    def pushed(loss: Callable[[tf.Tensor], tf.Tensor]) -> Floats:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(loss(logits + logit_mask(ALL, cells((0, 1)), 2)))
        found: Floats = tape.gradient(total, logits).numpy()
        return found

    open_logits = np.where([[0, 1, 0], [0, 0, 0]], -np.inf, logits.numpy())
    chances = np.exp(open_logits) / np.exp(open_logits).sum(axis=1, keepdims=True)
    assert pushed(lambda found: soft_cross_entropy(found, wanted, ALL)) == pytest.approx(
        chances - wanted, abs=1e-5
    )
    assert pushed(lambda found: cross_entropy(found, [2, 0])) == pytest.approx(chances - wanted, abs=1e-5)


def test_a_triplet_loses_what_its_margin_lacks() -> None:
    """User 0 likes item 0, scored .5. Of the others' likes .9 is above it, so .45 is the one to pass."""
    scores = tf.constant([[0.5, 0.9, 0.45, 0.1], [0.0, 0.8, 0.0, 0.0], [0.0, 0.0, 0.8, 0.0]])
    asked = cells((0, 0), (1, 1), (2, 2))
    assert triplet_loss(scores, asked, cells(), 0.2).numpy() == pytest.approx([0.15, 0, 0], abs=1e-6)


def test_what_is_known_or_asked_for_is_no_negative() -> None:
    scores = tf.constant([[0.5, 0.45, 0.4, 0.3], [0.0, 0.8, 0.0, 0.0], [0.0, 0.0, 0.8, 0.0]])
    asked = cells((0, 0), (0, 2), (1, 1), (2, 2))
    known = cells((0, 1))
    assert triplet_loss(scores, asked, known, 1.0).numpy()[0] == 0  # nothing is left to be told apart from


def test_a_target_below_every_negative_has_no_triplet() -> None:
    scores = tf.constant([[0.1, 0.9], [0.0, 0.5]])
    assert triplet_loss(scores, cells((0, 0), (1, 1)), cells(), 0.2).numpy()[0] == 0


def test_a_triplet_pushes_the_target_up_and_its_negative_down() -> None:
    scores = tf.Variable([[0.5, 0.45, 0.2], [0.0, 0.8, 0.0], [0.0, 0.0, 0.9]])
    with tf.GradientTape() as tape:
        loss = triplet_loss(scores, cells((0, 0), (1, 1), (2, 2)), cells(), 0.2)
    pushed = tf.convert_to_tensor(tape.gradient(loss, scores)).numpy()
    assert pushed.tolist() == [[-1, 1, 0], [0, 0, 0], [0, 0, 0]]


@given(
    rows=st.lists(st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4), min_size=2, max_size=4),
    margin=st.floats(0.01, 0.5),
)
def test_no_triplet_loses_where_every_margin_holds_and_none_more_than_the_margin(
    rows: list[list[float]], margin: float
) -> None:
    scores, asked = np.array(rows, dtype=np.float32), cells(*((user, user) for user in range(len(rows))))
    lost = triplet_loss(tf.constant(scores), asked, cells(), margin).numpy()
    assert (lost >= 0).all()
    assert (lost <= margin + 1e-6).all()
    likes = np.arange(len(rows))
    scores[likes, likes] = scores.max() + margin + 0.01
    assert not triplet_loss(tf.constant(scores), asked, cells(), margin).numpy().any()
