import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, strategies as st

from deepmoviematch.trainer.models.losses import (
    distillation_loss,
    masked_log_softmax,
    softmax_loss,
    target_counts,
    triplet_loss,
)


def cells(*pairs: tuple[int, int]) -> tf.Tensor:
    """[., 2] users and items."""
    return tf.constant(pairs, dtype=tf.int64, shape=(len(pairs), 2))


def test_an_item_that_is_known_has_no_probability() -> None:
    chances = tf.exp(
        masked_log_softmax(tf.constant([[1.0, 50.0, 1.0], [2.0, 2.0, 90.0]]), cells((0, 1), (1, 2)))
    )
    assert chances.numpy().tolist() == [[0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]


def test_the_softmax_loss_of_two_targets_is_their_surprise_over_the_square_root_of_two() -> None:
    # Three equal logits: each target has probability 1/3, so 2 log 3 / sqrt 2.
    chances = masked_log_softmax(tf.zeros((1, 3)), cells())
    loss = softmax_loss(chances, cells((0, 0), (0, 1)))
    assert loss.numpy() == pytest.approx([2 * np.log(3) / np.sqrt(2)], rel=1e-6)


def test_a_user_without_targets_contributes_nothing() -> None:
    chances = masked_log_softmax(tf.constant([[3.0, 1.0], [0.0, 0.0]]), cells((0, 0)))
    assert softmax_loss(chances, cells((1, 0))).numpy() == pytest.approx([0, np.log(2)])
    counts = target_counts(cells((1, 0)), 2)
    taught = distillation_loss(chances, tf.constant([[0.0, 1.0], [0.5, 0.5]]), counts)
    assert taught.numpy() == pytest.approx([0, np.log(2)])


def test_targets_are_counted_user_by_user() -> None:
    assert target_counts(cells((0, 4), (2, 1), (2, 7)), 4).numpy().tolist() == [1, 0, 2, 0]


def test_the_distillation_loss_is_least_where_the_model_agrees_with_the_teacher() -> None:
    teacher, one = tf.constant([[0.7, 0.2, 0.1]]), tf.ones(1)
    logits = tf.Variable(tf.math.log(teacher))
    with tf.GradientTape() as tape:
        loss = distillation_loss(masked_log_softmax(logits, cells()), teacher, one)
    assert tape.gradient(loss, logits).numpy() == pytest.approx(np.zeros((1, 3)), abs=1e-6)
    entropy = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1))
    assert loss.numpy() == pytest.approx([entropy], rel=1e-6)


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
