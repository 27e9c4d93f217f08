import numpy as np
import pytest
import tensorflow as tf

from deepmoviematch.trainer.losses import distillation_loss, masked_log_softmax, softmax_loss


def test_an_item_that_is_no_candidate_has_no_probability() -> None:
    chances = tf.exp(masked_log_softmax(tf.constant([[1.0, 50.0, 1.0]]), tf.constant([[1.0, 0.0, 1.0]])))
    assert chances.numpy().tolist() == [[0.5, 0.0, 0.5]]


def test_the_softmax_loss_of_two_targets_is_their_surprise_over_the_square_root_of_two() -> None:
    # Three equal logits: each target has probability 1/3, so 2 log 3 / sqrt 2.
    chances = masked_log_softmax(tf.zeros((1, 3)), tf.ones((1, 3)))
    loss = softmax_loss(chances, tf.constant([[1.0, 1.0, 0.0]]))
    assert loss.numpy() == pytest.approx([2 * np.log(3) / np.sqrt(2)], rel=1e-6)


def test_a_user_without_targets_contributes_nothing() -> None:
    chances = masked_log_softmax(tf.constant([[3.0, 1.0]]), tf.constant([[0.0, 1.0]]))
    nothing = tf.zeros((1, 2))
    assert softmax_loss(chances, nothing).numpy() == [0]
    assert distillation_loss(chances, tf.constant([[0.0, 1.0]]), nothing).numpy() == [0]


def test_the_distillation_loss_is_least_where_the_model_agrees_with_the_teacher() -> None:
    teacher, everything, target = tf.constant([[0.7, 0.2, 0.1]]), tf.ones((1, 3)), tf.constant([[1.0, 0, 0]])
    logits = tf.Variable(tf.math.log(teacher))
    with tf.GradientTape() as tape:
        loss = distillation_loss(masked_log_softmax(logits, everything), teacher, target)
    assert tape.gradient(loss, logits).numpy() == pytest.approx(np.zeros((1, 3)), abs=1e-6)
    entropy = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1))
    assert loss.numpy() == pytest.approx([entropy], rel=1e-6)
