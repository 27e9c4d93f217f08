"""What the towers are fed: the same functions for training and for serving.

Everything here is in stars (`RatingScale.stars`), so that a preference of 5 and
a rating of 10 on a ten-point scale mean the same. Symbols: `B` users, `G` genres,
`H` interactions of all users together, `N` items.

Only NumPy is imported: the serving process embeds users with these.
"""

from typing import overload

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats, Ints, Longs
from deepmoviematch.data.catalogue import UNKNOWN_YEAR, Catalogue
from deepmoviematch.data.ratings import LOWEST_STARS, TOP_STARS
from deepmoviematch.data.user_batch import UserBatch

NEUTRAL_STARS = (LOWEST_STARS + TOP_STARS) / 2
LIKE_STARS = 4.0
"""A rating of this many stars or more is a like; so is an interaction without a rating."""

FEW_LIKES = 6
"""So many likes may be all that a user has rated; whoever tells more, and nothing else, tells likes alone."""

WINDOW = 50
"""Interactions that the order of a history is read from, the latest ones."""

DECAYS = (0.5, 0.8, 0.95)
POSITIONS = 2
SUMMARIES = len(DECAYS) + POSITIONS
"""Weighted sums over the window (`recent_items`)."""

TRANSITION = DECAYS.index(0.8)
"""The sum that transitions from item to item are read from."""


@overload
def tells_likes_alone(likes: int, others: int) -> bool: ...
@overload
def tells_likes_alone(likes: Longs, others: Longs) -> Flags: ...
def tells_likes_alone(likes: int | Longs, others: int | Longs) -> bool | Flags:
    """Whether a user, or [B] each of several, with so many likes and other ratings tells likes alone.

    What is missing then says nothing, where else it says that the user did not even look at it.
    """
    alone: bool | Flags = (others == 0) & (likes > FEW_LIKES)
    return alone


def genre_means(users: UserBatch, genres: Flags) -> Floats:
    """Average stars that each user gave to each genre, NaN for a genre never rated.

    Args:
        users: B users.
        genres: [N, G] genre flags of the catalogue.

    Returns:
        [B, G] float32.
    """
    owners, size = users.owners, len(users)
    means = np.full((size, genres.shape[1]), np.nan, dtype=np.float32)
    for genre in range(genres.shape[1]):  # a column at a time: [H, G] would not fit for millions of ratings
        has = genres[users.items, genre]
        counts = np.bincount(owners[has], minlength=size)
        totals = np.bincount(owners[has], weights=users.stars[has], minlength=size)
        np.divide(totals, counts, out=means[:, genre], where=counts > 0, casting="unsafe")
    return means


def preference_signal(preferences: Floats) -> Floats:
    """Map stars to -1 (avoid) .. 1 (favourite); an unknown genre is a neutral 0.

    A vocabulary without genres is given one that is always neutral, as no tower can
    take an input of width 0.

    Args:
        preferences: [B, G] stars, NaN where unknown.

    Returns:
        [B, max(G, 1)] float32.
    """
    if preferences.shape[1] == 0:
        return np.zeros((len(preferences), 1), dtype=np.float32)
    signal = (preferences - NEUTRAL_STARS) / (TOP_STARS - NEUTRAL_STARS)
    return np.where(np.isnan(signal), 0, signal).astype(np.float32)


def recent_items(users: UserBatch) -> tuple[Ints, Floats]:
    """The latest interactions of each user, and how much each counts in `SUMMARIES` weighted sums.

    Args:
        users: B users.

    Returns:
        [B, WINDOW] rows of the catalogue, the latest first and 0 where there are no more, and
        [B, WINDOW, SUMMARIES] weights (`RECENCY`).
    """
    sizes = users.history_sizes
    ages = np.repeat(users.offsets[1:], sizes) - 1 - np.arange(len(users.items))
    recent = ages < WINDOW
    rows = np.zeros((len(users), WINDOW), dtype=np.int32)
    rows[users.owners[recent], ages[recent]] = users.items[recent]
    return rows, RECENCY[np.minimum(sizes, WINDOW)]


def _recency() -> Floats:
    age = np.arange(WINDOW)[:, None]
    weights = np.concatenate([np.power(DECAYS, age), age == np.arange(POSITIONS)], axis=1)
    known = np.arange(WINDOW) < np.arange(WINDOW + 1)[:, None]  # [WINDOW + 1, WINDOW]
    weights = known[:, :, None] * weights
    norms = np.sqrt(np.sum(weights**2, axis=1, keepdims=True))
    recency: Floats = (weights / np.maximum(norms, 1e-12)).astype(np.float32)
    return recency


RECENCY = _recency()
"""[WINDOW + 1, WINDOW, SUMMARIES] weights by number of interactions, then by age, 0 for the latest.

The first sums fade by a factor of `DECAYS` with every interaction that came after, the
others pick one position each: the latest interaction, the one before it. The weights of
a sum have length 1.
"""


def preferences_from_lift(lift: Floats) -> Floats:
    """Express how much more than others a user likes a genre as stars.

    A lift of 1 is neutral, of 8 or more `TOP_STARS`, of 1/8 or less `LOWEST_STARS`.

    Args:
        lift: [B, G] share of the genre in the user's likes over its share in everyone's.

    Returns:
        [B, G] float32 in `LOWEST_STARS`..`TOP_STARS`.
    """
    octaves = np.log2(np.clip(lift, 1 / 8, 8))
    return (NEUTRAL_STARS + octaves * (TOP_STARS - NEUTRAL_STARS) / 3).astype(np.float32)


def lift_from_preferences(preferences: Floats) -> Floats:
    """What `preferences_from_lift` expressed as stars; NaN stays NaN."""
    octaves = 3 * (preferences - NEUTRAL_STARS) / (TOP_STARS - NEUTRAL_STARS)
    lift: Floats = np.exp2(octaves).astype(np.float32)
    return lift


def preference_gate(stated: Flags, history_sizes: Longs, exponent: float) -> Floats:
    """Share of the stated preferences in a user's vector: they fade as the history grows.

    Args:
        stated: [B] whether the user stated any preference.
        history_sizes: [B] number of interactions.
        exponent: How fast the history takes over, above 0.

    Returns:
        [B] float32 in 0..1; 1 for a user of whom nothing is known.
    """
    share = (1.0 + history_sizes) ** -exponent
    return np.where(stated, share, history_sizes == 0).astype(np.float32)


def content_features(catalogue: Catalogue, mean: float, scale: float, knots: Floats) -> Floats:
    """Standardised year of release (an unknown one is a neutral 0), whether it is known, genre flags, hats.

    A hat is 1 in the year of its knot and falls to 0 over its span, so that what a year
    means may differ from decade to decade.

    Args:
        catalogue: N items.
        mean: Mean of the known years.
        scale: Standard deviation of the known years, above 0.
        knots: [K, 2] year and span, in years, of each hat (`year_knots`).

    Returns:
        [N, 2 + G + K] float32.
    """
    known = catalogue.years != UNKNOWN_YEAR
    years = np.where(known, (catalogue.years - mean) / scale, 0)
    distances = np.abs(catalogue.years[:, None] - knots[:, 0]) / knots[:, 1]
    hats = np.maximum(0, 1 - distances) * known[:, None]
    return np.column_stack([years, known, catalogue.genres, hats]).astype(np.float32)


def year_knots(catalogue: Catalogue) -> Floats:
    """[K, 2] float32 knots for `content_features` over the known years: every 3 years and every 10.

    Spans are wider where the years go back so far that there would be very many.
    """
    known = catalogue.years[catalogue.years != UNKNOWN_YEAR]
    if len(known) == 0:
        return np.empty((0, 2), dtype=np.float32)
    first, last = float(known.min()), float(known.max())
    spans = (max(3.0, (last - first) / 60), max(10.0, (last - first) / 20))
    knots = [(year, span) for span in spans for year in np.arange(first, last + span, span)]
    return np.array(knots, dtype=np.float32)


def year_statistics(catalogue: Catalogue) -> tuple[float, float]:
    """Mean and standard deviation of the known years; (0, 1) where there is nothing to learn."""
    known = catalogue.years[catalogue.years != UNKNOWN_YEAR]
    if len(known) == 0:
        return 0.0, 1.0
    return float(known.mean()), float(known.std()) or 1.0
