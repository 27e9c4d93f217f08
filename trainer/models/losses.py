"""Losses over the whole catalogue, or a draw from it (`candidates.py`). Symbols: `B` users, `N` items."""

import tensorflow as tf

NEVER = -1e9
"""Stands for minus infinity in a logit: its softmax is 0, and 0 times it is still 0."""

NEGATIVES = 64
"""Likes of a batch that a triplet's negative is looked for among."""


def masked_log_softmax(logits: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """Log-probabilities over the items that are not known yet.

    Args:
        logits: [B, N] float32.
        known: [K, 2] int64, pairs of user and item that are out of the running.

    Returns:
        [B, N] float32; about `NEVER` where an item is known.
    """
    out = tf.fill(tf.shape(known)[:1], NEVER)
    return tf.nn.log_softmax(tf.tensor_scatter_nd_min(logits, known, out), axis=1)


def log_chances(logits: tf.Tensor, correction: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """Log-probabilities among all items that are not known yet, seen through those that were drawn.

    Args:
        logits: [B, N] float32 of the items of a step.
        correction: [N] float32, -log of the chance that each was drawn with.
        known: [K, 2] int64, pairs of user and item that are out of the running.

    Returns:
        [B, N] float32, what `masked_log_softmax` gives where every chance is 1. They sum to 1
        over the catalogue on average, not over the items of the step.
    """
    return masked_log_softmax(logits + correction, known) - correction


def softmax_loss(log_probabilities: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each user's targets, scaled by n^-1/2 for n targets.

    A user with many targets counts for more than one with few, but not in proportion,
    so that heavy raters do not drown the rest.

    Args:
        log_probabilities: [B, N] float32.
        targets: [T, 2] int64, pairs of user and item; a user without any contributes 0.

    Returns:
        [B] float32.
    """
    users = tf.shape(log_probabilities)[0]
    hits = tf.gather_nd(log_probabilities, targets)
    sums = tf.math.unsorted_segment_sum(hits, targets[:, 0], users)
    return -sums * tf.math.rsqrt(tf.maximum(target_counts(targets, users), 1.0))


def distillation_loss(log_probabilities: tf.Tensor, teacher: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Cross-entropy against the teacher's distribution, on the scale of `softmax_loss`.

    It differs from the Kullback-Leibler divergence (Hinton et al., 2015) by the
    teacher's entropy, which no weight of the model can change.

    Args:
        log_probabilities: [B, N] float32.
        teacher: [B, N] float32, rows that sum to 1, corrected for the draw.
        counts: [B] float32, number of targets of each user; one without contributes 0.

    Returns:
        [B] float32.
    """
    return -tf.reduce_sum(teacher * log_probabilities, axis=1) * tf.sqrt(counts)


def triplet_loss(scores: tf.Tensor, targets: tf.Tensor, known: tf.Tensor, margin: float) -> tf.Tensor:
    """Hinge of user, target and semi-hard negative, on the scale of `softmax_loss`.

    Every target is to score `margin` more than what is not one. Negatives are the likes of
    the batch's other users, `NEGATIVES` of them spread over the targets; of these a target
    meets the one that scores highest below it, or none where all score more (Schroff et al.,
    2015, eq. 4; of unit vectors a difference of inner products is half of one of squared
    distances).

    Args:
        scores: [B, N] float32.
        targets: [T, 2] int64, pairs of user and item; a user without any contributes 0.
        known: [K, 2] int64, pairs of user and item that are no negatives.
        margin: In the unit of the scores.

    Returns:
        [B] float32.
    """
    users, asked = tf.shape(scores)[0], tf.shape(targets)[0]
    liked = tf.concat([known, targets], axis=0)
    others = tf.tensor_scatter_nd_min(scores, liked, tf.fill(tf.shape(liked)[:1], NEVER))
    drawn = tf.gather(targets[:, 1], tf.range(NEGATIVES) * asked // NEGATIVES)
    negatives = tf.gather(tf.gather(others, drawn, axis=1), targets[:, 0])  # [T, NEGATIVES]
    positives = tf.gather_nd(scores, targets)  # [T]
    below = tf.where(negatives < positives[:, None], negatives, NEVER)
    lost = tf.nn.relu(margin - positives + tf.reduce_max(below, axis=1))
    sums = tf.math.unsorted_segment_sum(lost, targets[:, 0], users)
    return sums * tf.math.rsqrt(tf.maximum(target_counts(targets, users), 1.0))


def target_counts(targets: tf.Tensor, users: tf.Tensor) -> tf.Tensor:
    """[B] float32 number of each user's targets, of B users."""
    return tf.math.unsorted_segment_sum(tf.ones(tf.shape(targets)[:1]), targets[:, 0], users)
