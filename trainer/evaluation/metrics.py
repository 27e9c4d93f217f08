"""Ranking metrics on the full catalogue.

Ties are broken by row number, the way that the index does. Symbols: `B` users,
`N` items, `K` ranks.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats, Longs


def top_rows(scores: Floats, k: int) -> Longs:
    """The k best columns of each row, best first; ties go to the lower column.

    Args:
        scores: [B, N]; -inf keeps an item out.
        k: At most N.

    Returns:
        [B, k] columns.
    """
    k = min(k, scores.shape[1])
    cut = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]  # [B, 1] the k-th best score
    chosen = scores >= cut
    tied = chosen.sum(axis=1) > k
    above, level = scores[tied] > cut[tied], scores[tied] == cut[tied]
    room = k - above.sum(axis=1, keepdims=True)
    chosen[tied] = above | (level & (np.cumsum(level, axis=1) <= room))
    columns = np.nonzero(chosen)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def ndcg(hits: Flags, targets: Longs, k: int) -> Floats:
    """Normalised discounted cumulative gain with gains of 0 or 1 (Jarvelin and Kekalainen, 2002).

    Args:
        hits: [B, K] whether the item at a rank is a target, K >= k or the whole catalogue.
        targets: [B] number of targets, at least 1.
        k: Ranks that count.

    Returns:
        [B] in 0..1.
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(targets, k) - 1]
    values: Floats = (hits[:, :k] @ discounts[: hits.shape[1]] / ideal).astype(np.float32)
    return values


def recall(hits: Flags, targets: Longs, k: int) -> Floats:
    """Share of the targets among the first k, of the most that k ranks can hold (Liang et al., 2018).

    Args:
        hits: [B, K], as in `ndcg`.
        targets: [B] number of targets, at least 1.
        k: Ranks that count.

    Returns:
        [B] in 0..1.
    """
    values: Floats = (hits[:, :k].sum(axis=1) / np.minimum(targets, k)).astype(np.float32)
    return values


def hit(hits: Flags, _targets: Longs, k: int) -> Floats:
    """[B] 1 where any target is among the first k, else 0; `hits` as in `ndcg`."""
    values: Floats = hits[:, :k].max(axis=1, initial=False).astype(np.float32)
    return values


METRICS: dict[str, Callable[[Flags, Longs], Floats]] = {
    "ndcg@100": partial(ndcg, k=100),
    "ndcg@10": partial(ndcg, k=10),
    "recall@20": partial(recall, k=20),
    "recall@50": partial(recall, k=50),
    "hit@10": partial(hit, k=10),
}
"""Take hits and the number of targets; `auc` takes scores."""


def auc(scores: Floats, targets: Flags) -> Floats:
    """Chance that a target is scored above another item in the running; a tie counts half.

    Args:
        scores: [B, N]; -inf keeps an item out.
        targets: [B, N] in the running, at least one each.

    Returns:
        [B] in 0..1; 0.5 for a user for whom nothing but targets is in the running.
    """
    values = np.full(len(scores), 0.5, dtype=np.float32)
    for user, (line, wanted) in enumerate(zip(scores, targets, strict=True)):
        others = np.sort(line[~wanted & np.isfinite(line)])
        if len(others):
            below = np.searchsorted(others, line[wanted], side="left")
            up_to = np.searchsorted(others, line[wanted], side="right")
            values[user] = (below + up_to).mean() / (2 * len(others))
    return values
