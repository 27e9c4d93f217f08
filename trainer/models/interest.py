"""Whether ratings that are no likes tell of interest.

Where people rate what they looked for, a low rating is a near miss. Where they rate whatever they are
shown, it is of what they would never look for.
Symbols: `U` users, `N` items.
"""

import numpy as np
from scipy import sparse

from deepmoviematch.trainer.ease import Ease
from deepmoviematch.trainer.models.similar_users import compared

MOST_USERS = MOST_ITEMS = 2000
"""Of more a sample of users, and the items with most likes."""


def interest_signal(likes: sparse.csr_matrix, others: sparse.csr_matrix, penalty: float, seed: int) -> float:
    """How much more users are like those who like an item if they rated it, and did not like it.

    EASE of the likes alone scores the item for everybody. Those who rated it low are compared with those
    who did not rate it, item by item, so that it does not matter how popular items are.

    Args:
        likes: [U, N] 0 or 1.
        others: [U, N] 1 where an item is rated, and not liked.
        penalty: Of EASE.
        seed: Of the sample.

    Returns:
        The mean difference in standard deviations, between 0 and 1: 1 on MovieLens, where it is 1 to 2.
    """
    users = compared(likes, [seed, 5], MOST_USERS)
    items = np.sort(np.argsort(-likes[users].getnnz(axis=0), kind="stable")[:MOST_ITEMS])
    liked, other = likes[users][:, items], others[users][:, items].toarray() > 0
    scores = Ease.fit(liked, penalty).score(liked).astype(np.float64)
    unrated = ~other & (liked.toarray() == 0)
    counts = np.maximum(unrated.sum(axis=0), 1)
    usual = (scores * unrated).sum(axis=0) / counts
    spread = np.sqrt(((scores - usual) ** 2 * unrated).sum(axis=0) / counts)
    other &= spread > 0  # else there is hardly anybody who did not rate it
    difference, deviation = ((each * other).sum() for each in (scores - usual, spread))
    return float(np.clip(difference / deviation, 0, 1)) if deviation > 0 else 0.0
