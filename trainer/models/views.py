"""How users' ratings become a question for the towers: what is known, what is asked for.

Ratings are listed one by one, user after user, as in `Ratings`; what a view knows
and asks for are flags over that list, so that nothing as wide as the catalogue is
ever drawn. Symbols: `B` users of a batch, `R` ratings of all of them, `G` genres.
"""

from dataclasses import dataclass

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats, Ints, Longs
from deepmoviematch.data.features import FEW_LIKES, preferences_from_lift
from deepmoviematch.data.ratings import TOP_STARS
from deepmoviematch.trainer.likes import genre_lift

TICKING = 0.6
"""Share of the users who tick favourite genres, where they state preferences; the others say how much."""

MOST_TICKED = 5
"""People tick a few favourite genres: one to this many."""

DECIDED = (1.0, 2.0, 4.0)
"""How decided people are: powers of a genre's share that they tick it in proportion to."""

LONGEST_SHORT = FEW_LIKES
"""Likes in a short history: one to this many."""


@dataclass(frozen=True, eq=False)
class RatedBy:
    """Everything that the users of a batch rated."""

    owners: Longs
    """[R] the user, 0 to B - 1, never decreasing."""

    items: Ints
    """[R] rows of the catalogue."""

    liked: Flags
    """[R] whether the rating is a like."""

    size: int
    """B."""


@dataclass(frozen=True, eq=False)
class View:
    """One question for every user of a batch."""

    likes: Flags
    """[R] a like that is known."""

    others: Flags
    """[R] a known rating that is not a like."""

    targets: Flags
    """[R] a like to predict; never one that is known."""

    preferences: Floats
    """[B, G] stars, NaN where unknown."""


def history_view(
    rated: RatedBy,
    preferences: Floats,
    share: tuple[float, float],
    rng: np.random.Generator,
    *,
    alone: float = 0.0,
) -> View:
    """Keep a random share of each user's ratings, between the two of `share`; ask for the other likes.

    Args:
        rated: Of B users.
        preferences: [B, G] stars; three users in ten state them.
        share: The least and the most to keep.
        rng: Source of chance.
        alone: Share of the users who tell likes alone.
    """
    kept = rng.random(len(rated.owners)) < rng.uniform(*share, size=rated.size)[rated.owners]
    tells_others = rng.random(rated.size) >= alone
    return View(
        likes=rated.liked & kept,
        others=~rated.liked & kept & tells_others[rated.owners],
        targets=rated.liked & ~kept,
        preferences=_stated_by(0.3, preferences, rng),
    )


def short_view(rated: RatedBy, preferences: Floats, rng: np.random.Generator) -> View:
    """Keep one to `LONGEST_SHORT` likes of each user and ask for the others.

    Args:
        rated: Of B users.
        preferences: [B, G] stars; every other user states them.
        rng: Source of chance.
    """
    keys = np.where(rated.liked, rng.random(len(rated.owners)), 2)  # likes come before others
    shuffled = np.lexsort((keys, rated.owners))  # still user after user
    places = np.arange(len(shuffled)) - np.searchsorted(rated.owners, rated.owners)
    kept = np.zeros(len(shuffled), dtype=np.bool_)
    kept[shuffled] = places < rng.integers(1, LONGEST_SHORT + 1, size=rated.size)[rated.owners]
    return View(
        likes=rated.liked & kept,
        others=np.zeros_like(kept),
        targets=rated.liked & ~kept,
        preferences=_stated_by(0.5, preferences, rng),
    )


def stated_view(rated: RatedBy, preferences: Floats) -> View:
    """Keep nothing but what the users state, and ask for every like."""
    nothing = np.zeros_like(rated.liked)
    return View(likes=nothing, others=nothing, targets=rated.liked, preferences=preferences)


@dataclass(frozen=True, eq=False)
class Statements:
    """What users state of the genres, and how they came to state it."""

    preferences: Floats
    """[B, G] stars, NaN where nothing is stated."""

    ticked: Flags
    """[B, G] the favourites of those who tick some; none of those who say how much they like each."""

    decided: Longs
    """[B] which of `DECIDED` they tick with."""


def sample_statements(shares: Floats, base: Floats, rng: np.random.Generator) -> Statements:
    """What users may state: some their exact lift per genre, most a few favourites.

    Favourites are drawn by a power of their share, without replacement (Gumbel top-k; Kool et al., 2019).

    Args:
        shares: [B, G] share of each genre in a user's likes.
        base: [G] the same over all users.
        rng: Source of chance.
    """
    exact = preferences_from_lift(genre_lift(shares, base))
    decided = rng.integers(len(DECIDED), size=len(shares))
    with np.errstate(divide="ignore"):
        keys = np.take(DECIDED, decided)[:, None] * np.log(shares) + rng.gumbel(size=shares.shape)
    ranks = np.argsort(np.argsort(-keys, axis=1), axis=1)
    ticked = (ranks < rng.integers(1, MOST_TICKED + 1, size=(len(shares), 1))) & (shares > 0)
    ticked &= rng.random((len(shares), 1)) < TICKING
    favourites = np.where(ticked, TOP_STARS, np.nan)
    stated = np.where(ticked.any(axis=1, keepdims=True), favourites, exact).astype(np.float32)
    return Statements(stated, ticked, decided)


def _stated_by(share: float, preferences: Floats, rng: np.random.Generator) -> Floats:
    states = rng.random((len(preferences), 1)) < share
    return np.where(states, preferences, np.nan).astype(np.float32)
