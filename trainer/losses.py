"""Losses over the whole catalogue. Symbols: `B` users, `N` items."""

import tensorflow as tf

NEVER = -1e9
"""Stands for minus infinity in a logit: its softmax is 0, and 0 times it is still 0."""


def masked_log_softmax(logits: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Log-probabilities over the candidates alone.

    Args:
        logits: [B, N] float32.
        candidates: [B, N] float32, 1 for an item in the running, 0 for one that is not.

    Returns:
        [B, N] float32; about `NEVER` where an item is no candidate.
    """
    return tf.nn.log_softmax(tf.where(candidates > 0, logits, NEVER), axis=1)


def softmax_loss(log_probabilities: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each user's targets, scaled by n^-1/2 for n targets.

    A user with many targets counts for more than one with few, but not in proportion,
    so that heavy raters do not drown the rest.

    Args:
        log_probabilities: [B, N] float32.
        targets: [B, N] float32, 1 for a target; a user without any contributes 0.

    Returns:
        [B] float32.
    """
    counts = tf.reduce_sum(targets, axis=1)
    return -tf.reduce_sum(targets * log_probabilities, axis=1) * tf.math.rsqrt(tf.maximum(counts, 1.0))


def distillation_loss(log_probabilities: tf.Tensor, teacher: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Cross-entropy against the teacher's distribution, on the scale of `softmax_loss`.

    It differs from the Kullback-Leibler divergence (Hinton et al., 2015) by the
    teacher's entropy, which no weight of the model can change.

    Args:
        log_probabilities: [B, N] float32.
        teacher: [B, N] float32, rows that sum to 1.
        targets: [B, N] float32, as in `softmax_loss`.

    Returns:
        [B] float32.
    """
    counts = tf.reduce_sum(targets, axis=1)
    return -tf.reduce_sum(teacher * log_probabilities, axis=1) * tf.sqrt(counts)
