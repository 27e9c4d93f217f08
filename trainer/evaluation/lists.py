"""What the first ten of everyone are like as a whole. Symbols: `U` users, `N` items, `G` genres."""

from collections.abc import Sequence

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats, Longs
from deepmoviematch.data.user_batch import UserBatch

FEWEST_ASKED = 5
MOST_FORCED = 0.5
"""Lists of fewer users, or that chance makes this much alike, prove nothing of the model."""

MOST_OVERLAP = 0.95
"""Where the lists of users who differ are more alike than this, the model has collapsed."""


def popularity_ranks(popularity: Floats) -> Longs:
    """[N] place of each item among the N, 0 for the most popular."""
    ranks: Longs = np.argsort(np.argsort(-popularity, kind="stable"), kind="stable")
    return ranks


def list_figures(tops: Longs, genres: Flags, popularity: Floats) -> dict[str, float]:
    """Figures of the lists of all users.

    Args:
        tops: [U, 10] rows of the catalogue, -1 where a list is shorter.
        genres: [N, G] genre flags.
        popularity: [N] share of the training users who liked each item.

    Returns:
        "coverage@10", the share of the catalogue in someone's list; "overlap@10"
        (`overlap`); "novelty@10", the mean surprise -log2 p of an item that a share p of
        the training users liked, half of the least liked item's share where nobody did;
        "diversity@10", the mean distance (1 - Jaccard) of the genres of two items of a list,
        absent where there are no genres.
    """
    shown = tops[tops >= 0]
    least = popularity[popularity > 0].min(initial=1.0)
    surprise = -np.log2(np.maximum(popularity[shown], least / 2))
    figures = {
        "coverage@10": len(np.unique(shown)) / len(popularity),
        "overlap@10": overlap(tops),
        "novelty@10": float(surprise.sum() / max(len(shown), 1)),
    }
    if genres.shape[1]:
        figures["diversity@10"] = float(np.mean([_diversity(genres[line[line >= 0]]) for line in tops]))
    return figures


def overlap(tops: Longs) -> float:
    """Mean share of a user's list that another user's has too: 1 is the same list for everyone."""
    shown, users = tops[tops >= 0], len(tops)
    counts = np.unique(shown, return_counts=True)[1].astype(np.float64)
    pairs = float(np.sum(counts * (counts - 1))) / max(users * (users - 1), 1)
    return pairs / max(len(shown) / users, 1)


def overlap_of_unlike_users(tops: Longs, users: UserBatch, candidate_counts: Longs) -> float | None:
    """`overlap` among users who told different things; the measure of a collapsed model.

    Args:
        tops: [U, 10] rows of the catalogue, -1 where a list is shorter.
        users: U users as they were told.
        candidate_counts: [U] how many items were in the running for each.

    Returns:
        None where it would prove nothing: fewer than `FEWEST_ASKED` users who differ, or
        so few items that lists are alike by chance.
    """
    told: dict[tuple[bytes, ...], int] = {}
    for user in range(len(users)):
        one = users.slice(user, user + 1)
        parts = (one.preferences, one.items, one.stars, one.asks_next)
        told.setdefault(tuple(part.tobytes() for part in parts), user)
    forced = np.mean(np.minimum(10, candidate_counts) / np.maximum(candidate_counts, 1))
    if len(told) < FEWEST_ASKED or forced > MOST_FORCED:
        return None
    return overlap(tops[list(told.values())])


def collapse(model: str, overlaps: Sequence[float | None]) -> str:
    """What is wrong with a model that shows the same to users who told different things.

    Args:
        model: Its name.
        overlaps: What `overlap_of_unlike_users` says of each split.

    Returns:
        A sentence; empty where nothing is wrong, or nothing is known.
    """
    known = [overlap for overlap in overlaps if overlap is not None]
    if not known or (mean := sum(known) / len(known)) <= MOST_OVERLAP:
        return ""
    return (
        f"lists of different users must differ, got a mean overlap of {mean:.1%} of the first ten "
        f"with {model}: the model has collapsed"
    )


def _diversity(genres: Flags) -> float:
    """Mean 1 - Jaccard over the pairs of [K, G] genre flags; items without genres are alike."""
    flags = genres.astype(np.float64)
    both = flags @ flags.T
    either = flags.sum(axis=1)[:, None] + flags.sum(axis=1)[None] - both
    distances = 1 - np.where(either > 0, both / np.maximum(either, 1), 1)
    pairs = len(genres) * (len(genres) - 1)
    return float(distances.sum() / pairs) if pairs else 0.0
