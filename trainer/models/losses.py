"""Losses over the whole catalogue, or a draw from it (`candidates.py`). Symbols: `B` users, `N` items."""

import tensorflow as tf

MASKED = -1e9
"""Stands for minus infinity in a logit: its softmax is 0, and 0 times it is still 0."""

NEGATIVES = 64
"""Likes of a batch that a triplet's negative is looked for among."""


def logit_mask(correction: tf.Tensor, known: tf.Tensor, users: tf.Tensor) -> tf.Tensor:
    """What to add to logits, so that a softmax is over all that is not known yet, seen through a draw.

    Args:
        correction: [N] float32, -log of the chance that each item of a step was drawn with.
        known: [K, 2] int64, pairs of user and item that are out of the running.
        users: B.

    Returns:
        [B, N] float32, the correction or `MASKED`.
    """
    everyone = tf.tile(correction[None], [users, 1])
    return tf.tensor_scatter_nd_update(everyone, known, tf.fill(tf.shape(known)[:1], MASKED))


def soft_cross_entropy(logits: tf.Tensor, wanted: tf.Tensor, correction: tf.Tensor) -> tf.Tensor:
    """Cross-entropy against a distribution, in one kernel with its gradient.

    Args:
        logits: [B, N] float32, with `logit_mask` added.
        wanted: [B, N] float32 rows that sum to 1, 0 where an item is known; they have no gradient.
        correction: [N] float32 as in `logit_mask`. What is wanted of it is added, so that the
            logarithms are of chances in the whole catalogue, not in the draw.

    Returns:
        [B] float32.
    """
    found = tf.raw_ops.SoftmaxCrossEntropyWithLogits(features=logits, labels=wanted).loss
    return found + tf.linalg.matvec(wanted, correction)


def cross_entropy(logits: tf.Tensor, asked: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of one item a user, in one kernel with its gradient.

    Args:
        logits: [B, N] float32, with `logit_mask` added.
        asked: [B] int64 column of the item, whose correction is 0.

    Returns:
        [B] float32.
    """
    return tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=asked).loss


def shares_of(targets: tf.Tensor, counts: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """What a user asks for as a distribution, alike for each target.

    Args:
        targets: [T, 2] int64, pairs of user and item.
        counts: [B] float32, `target_counts`.
        items: N.

    Returns:
        [B, N] float32, rows that sum to 1, or to 0 where there are no targets.
    """
    shares = tf.gather(1 / tf.maximum(counts, 1.0), targets[:, 0])
    return tf.scatter_nd(targets, shares, tf.cast(tf.stack([tf.shape(counts)[0], items]), tf.int64))


def triplet_loss(scores: tf.Tensor, targets: tf.Tensor, known: tf.Tensor, margin: float) -> tf.Tensor:
    """Hinge of user, target and semi-hard negative, scaled by n^-1/2 for n targets.

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
    others = tf.tensor_scatter_nd_min(scores, liked, tf.fill(tf.shape(liked)[:1], MASKED))
    drawn = tf.gather(targets[:, 1], tf.range(NEGATIVES) * asked // NEGATIVES)
    negatives = tf.gather(tf.gather(others, drawn, axis=1), targets[:, 0])  # [T, NEGATIVES]
    positives = tf.gather_nd(scores, targets)  # [T]
    below = tf.where(negatives < positives[:, None], negatives, MASKED)
    lost = tf.nn.relu(margin - positives + tf.reduce_max(below, axis=1))
    sums = tf.math.unsorted_segment_sum(lost, targets[:, 0], users)
    return sums * tf.math.rsqrt(tf.maximum(target_counts(targets, users), 1.0))


def target_counts(targets: tf.Tensor, users: tf.Tensor) -> tf.Tensor:
    """[B] float32 number of each user's targets, of B users."""
    return tf.math.unsorted_segment_sum(tf.ones(tf.shape(targets)[:1]), targets[:, 0], users)
