"""Ratings that can be asked for, as those that come after others, and the histories that they end."""

import numpy as np

from deepmoviematch.data.arrays import Longs
from deepmoviematch.data.features import LIKE_STARS
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch


def later_ratings(ratings: Ratings) -> Longs:
    """Places of the ratings that are not their user's first: each can be asked for."""
    return np.flatnonzero(np.arange(len(ratings)) > ratings.offsets[ratings.users])


def later_likes(ratings: Ratings) -> Longs:
    """Places of the likes among them."""
    later = later_ratings(ratings)
    return later[ratings.stars[later] >= LIKE_STARS]


def prefixes(ratings: Ratings, asked: Longs, genres: int = 0) -> UserBatch:
    """What each user had rated before the rating at each place of `asked`."""
    begins = ratings.offsets[ratings.users[asked]]
    sizes = asked - begins
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    places = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], sizes)
    return UserBatch(
        preferences=np.full((len(asked), genres), np.nan, dtype=np.float32),
        items=ratings.items[places],
        stars=ratings.stars[places],
        offsets=offsets,
        asks_next=np.ones(len(asked), dtype=np.bool_),
    )
