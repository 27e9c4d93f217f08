"""Directions of genres, small enough to work out by hand."""

import numpy as np
import pytest

from deepmoviematch.server.ranking.affinity import genre_directions

ITEMS = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)


def test_a_genre_lies_where_its_popular_items_are_apart_from_the_catalogue() -> None:
    genres = np.array([[1], [1], [0]], dtype=np.bool_)
    popularity = np.array([0.1, 0.1, 0.2], dtype=np.float32)
    # Its mean is (1/2, 1/2), that of everything (1/4 - 1/2, 1/4): apart (3/4, 1/4).
    [direction] = genre_directions(ITEMS, genres, popularity)
    assert direction == pytest.approx(np.array([3, 1]) / 10**0.5, abs=1e-4)


def test_items_that_nobody_likes_count_alike() -> None:
    genres = np.array([[1], [1], [0]], dtype=np.bool_)
    # Means of (1/2, 1/2) and (0, 1/3).
    [direction] = genre_directions(ITEMS, genres, np.zeros(3, dtype=np.float32))
    assert direction == pytest.approx(np.array([3, 1]) / 10**0.5, abs=1e-4)


def test_a_genre_of_no_item_or_of_every_one_lies_nowhere() -> None:
    genres = np.array([[0, 1]] * 3, dtype=np.bool_)
    assert not genre_directions(ITEMS, genres, np.full(3, 0.3, dtype=np.float32)).any()


def test_a_catalogue_without_genres_has_no_directions() -> None:
    shape = genre_directions(ITEMS, np.zeros((3, 0), dtype=np.bool_), np.ones(3, dtype=np.float32)).shape
    assert shape == (0, 2)
