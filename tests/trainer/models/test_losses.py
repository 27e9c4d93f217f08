import numpy as np
import pytest
import tensorflow as tf

from deepmoviematch.trainer.models.losses import (
    distillation_loss,
    masked_log_softmax,
    softmax_loss,
    target_counts,
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
