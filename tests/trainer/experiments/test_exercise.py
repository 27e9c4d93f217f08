from dataclasses import replace

import numpy as np
import pytest

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.experiments import exercise
from deepmoviematch.trainer.fit import fit_seed
from deepmoviematch.trainer.models.seed import SeedRows, SeedTowers
from deepmoviematch.trainer.recipe import SeedRecipe

RECIPE = SeedRecipe(name="seed", epochs=10, batch_size=32)


@pytest.fixture(scope="module")
def rows(dataset: Dataset) -> SeedRows:
    return SeedRows.of_ratings(dataset.catalogue, dataset.ratings, RECIPE)


@pytest.fixture(scope="module")
def towers(dataset: Dataset, rows: SeedRows) -> SeedTowers:
    return fit_seed(dataset.catalogue, rows, RECIPE).towers


def test_training_rows_show_ids_features_and_rating_one_row_a_column(rows: SeedRows) -> None:
    sheet = exercise.training_rows(rows, 3)
    first = np.sort(rows.train)[0]
    assert [line[0] for line in sheet.rows][:3] == ["user id", "item id", "user, not fed: rating count"]
    assert sheet.rows[0][1] == rows.user_ids[first]
    assert sheet.rows[-1] == ("rating", *rows.ratings[np.sort(rows.train)[:3]])
    assert {len(line) for line in sheet.rows} == {4}


def test_the_top_for_a_taste_is_sorted_by_the_prediction_and_of_that_taste(
    towers: SeedTowers, rows: SeedRows, catalogue: Catalogue
) -> None:
    sheet = exercise.top_for_taste(towers, rows, catalogue, {"funny": 5.0, "sad": 1.0}, 5)
    predicted = [row[1] for row in sheet.rows]
    assert predicted == sorted(predicted, reverse=True)
    assert all("Funny" in row[4] for row in sheet.rows)
    assert sheet.title == "top 5 for a user with funny=5, sad=1"


def test_a_genre_that_does_not_exist_is_refused_with_those_that_do(rows: SeedRows) -> None:
    with pytest.raises(TrainingError, match="must be one of Funny, Sad, Short, got western"):
        exercise.check_taste(rows, {"FUNNY": 3.0, "western": 5.0})


def test_a_known_users_ratings_stand_beside_the_predictions(
    towers: SeedTowers, rows: SeedRows, catalogue: Catalogue, dataset: Dataset
) -> None:
    sheet = exercise.predicted_and_actual(towers, rows, catalogue, "u3", 100)
    given = dataset.ratings.ratings[dataset.ratings.users == dataset.ratings.user_ids.index("u3")]
    assert sorted(row[1] for row in sheet.rows) == sorted(given)
    assert sum(row[2] == "test" for row in sheet.rows) == sum(rows.user_ids[row] == "u3" for row in rows.test)


def test_the_nearest_movie_is_that_of_brute_force(towers: SeedTowers, catalogue: Catalogue) -> None:
    vectors = towers.item_vectors()
    sheet = exercise.nearest_movies(towers, catalogue, 4)
    for row, line in enumerate(sheet.rows):
        distances = [np.sum((vectors[row] - other) ** 2) for other in vectors]
        distances[row] = np.inf
        assert line[2] == catalogue.label(int(np.argmin(distances)))
        assert line[4] == pytest.approx(min(distances), abs=1e-5)


def test_the_baselines_count_ratings(dataset: Dataset) -> None:
    counts = np.bincount(dataset.ratings.items, minlength=30)
    top = exercise.most_rated(dataset)
    assert [row[1] for row in top.rows] == sorted(counts, reverse=True)[:10]
    genres = exercise.by_genre(dataset)
    funny = dataset.catalogue.genres[dataset.ratings.items, 0]
    assert genres.rows[0] == ("Funny", 15, pytest.approx(dataset.ratings.ratings[funny].mean()), funny.sum())


def test_a_genre_that_nobody_rated_has_no_average(dataset: Dataset) -> None:
    funny = dataset.ratings.take(dataset.catalogue.genres[dataset.ratings.items, 0])
    genres = exercise.by_genre(replace(dataset, ratings=funny))
    assert [row[3] for row in genres.rows][:2] == [len(funny), 0]
    assert np.isnan(genres.rows[1][2])
