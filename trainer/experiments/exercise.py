"""What the author of the seed model looked at: rows, predictions, neighbours, baselines.

Every function returns a `Listing`, a title with columns and rows, for the command
line to print.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.describe import summaries_of_genres
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.models.seed import SeedRows, SeedTowers


@dataclass(frozen=True)
class Listing:
    """A table for people."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def training_rows(rows: SeedRows, count: int) -> Listing:
    """The first training rows, one a column: ids, the user's features, the item's, the rating."""
    chosen = np.sort(rows.train)[:count]
    sides = (
        ("user, not fed", rows.carried_names, rows.carried),
        ("user", rows.genre_names, rows.users),
        ("item", rows.feature_names, rows.items),
    )
    features = [
        (f"{side}: {name}", *values[chosen, column])
        for side, names, values in sides
        for column, name in enumerate(names)
    ]
    return Listing(
        title=f"the first {len(chosen)} training rows, one a column; the ids are not fed to the towers",
        columns=("", *map(str, chosen)),
        rows=[
            ("user id", *(rows.user_ids[row] for row in chosen)),
            ("item id", *(rows.item_ids[row] for row in chosen)),
            *features,
            ("rating", *rows.ratings[chosen]),
        ],
    )


def check_taste(rows: SeedRows, taste: Mapping[str, float]) -> None:
    """Refuse a genre that is not in the vocabulary, whatever its case.

    Raises:
        TrainingError: Naming the genres that are.
    """
    if unknown := sorted(genre for genre in taste if genre.casefold() not in _columns(rows)):
        raise TrainingError(f"a genre must be one of {', '.join(rows.genre_names)}, got {', '.join(unknown)}")


def check_user(rows: SeedRows, user_id: str) -> None:
    """Refuse an id that nobody has.

    Raises:
        TrainingError: Naming one that somebody has.
    """
    if user_id not in rows.user_ids:
        raise TrainingError(f"a user id must be one of the data's, such as {rows.user_ids[0]}, got {user_id}")


def _columns(rows: SeedRows) -> dict[str, int]:
    return {name.casefold(): column for column, name in enumerate(rows.genre_names)}


def top_for_taste(
    towers: SeedTowers, rows: SeedRows, catalogue: Catalogue, taste: Mapping[str, float], count: int
) -> Listing:
    """The movies with the highest predicted rating for a made-up user (see `check_taste`)."""
    names = _columns(rows)
    user = np.zeros((1, len(names)), dtype=np.float32)
    for genre, stars in taste.items():
        user[0, names[genre.casefold()]] = stars
    predicted = towers.predict(np.repeat(user, len(catalogue), axis=0), rows.catalogue)
    best = np.argsort(-predicted, kind="stable")[:count]
    wanted = ", ".join(f"{genre}={stars:g}" for genre, stars in taste.items())
    return Listing(
        title=f"top {len(best)} for a user with {wanted}",
        columns=("rank", "predicted", "item id", "title", "genres"),
        rows=[
            (
                rank,
                predicted[row],
                catalogue.item_ids[row],
                catalogue.label(row),
                _genres(catalogue, row),
            )
            for rank, row in enumerate(best, start=1)
        ],
    )


def predicted_and_actual(
    towers: SeedTowers, rows: SeedRows, catalogue: Catalogue, user_id: str, count: int
) -> Listing:
    """What the model predicts for a user beside what they gave, best prediction first (see `check_user`)."""
    of_user = [row for row, owner in enumerate(rows.user_ids) if owner == user_id]
    first = list({rows.item_ids[row]: row for row in reversed(of_user)}.values())
    predicted = towers.predict(rows.users[first], rows.items[first])
    tested = set(rows.test.tolist())
    order = np.argsort(-predicted, kind="stable")[:count]
    return Listing(
        title=f"user {user_id}: predicted beside actual, {len(order)} of {len(first)} movies",
        columns=("predicted", "actual", "in", "item id", "title"),
        rows=[
            (
                predicted[i],
                rows.ratings[first[i]],
                "test" if first[i] in tested else "train",
                rows.item_ids[first[i]],
                catalogue.label(catalogue.row_of[rows.item_ids[first[i]]]),
            )
            for i in order
        ],
    )


def nearest_movies(towers: SeedTowers, catalogue: Catalogue, count: int) -> Listing:
    """For each of the first movies of the catalogue the nearest other one by squared distance."""
    vectors = towers.item_vectors()
    squares = np.sum(vectors[:count, None] ** 2, axis=2) + np.sum(vectors**2, axis=1)
    distances = np.maximum(squares - 2 * vectors[:count] @ vectors.T, 0)
    distances[np.arange(len(distances)), np.arange(len(distances))] = np.inf
    nearest = distances.argmin(axis=1)
    return Listing(
        title="nearest movie by squared distance between item vectors",
        columns=("movie", "genres", "nearest", "its genres", "distance"),
        rows=[
            (
                catalogue.label(row),
                _genres(catalogue, row),
                catalogue.label(near),
                _genres(catalogue, near),
                distances[row, near],
            )
            for row, near in enumerate(nearest)
            if np.isfinite(distances[row, near])
        ],
    )


def most_rated(dataset: Dataset, count: int = 10) -> Listing:
    """The movies with the most ratings, with their average: what everyone could be shown."""
    catalogue, ratings = dataset.catalogue, dataset.ratings
    counts = np.bincount(ratings.items, minlength=len(catalogue))
    totals = np.bincount(ratings.items, weights=ratings.ratings, minlength=len(catalogue))
    best = np.argsort(-counts, kind="stable")[:count]
    return Listing(
        title=f"baseline: top {len(best)} by number of ratings",
        columns=("item id", "ratings", "average", "title", "genres"),
        rows=[
            (
                catalogue.item_ids[row],
                int(counts[row]),
                totals[row] / max(counts[row], 1),
                catalogue.label(row),
                _genres(catalogue, row),
            )
            for row in best
        ],
    )


def by_genre(dataset: Dataset) -> Listing:
    """Movies, ratings and average rating of every genre."""
    return Listing(
        title="baseline: by genre",
        columns=("genre", "movies", "average", "ratings"),
        rows=[
            (each.genre, each.items, np.nan if each.mean_rating is None else each.mean_rating, each.ratings)
            for each in summaries_of_genres(dataset)
        ],
    )


def _genres(catalogue: Catalogue, row: int) -> str:
    return ", ".join(catalogue.genres_of(row))
