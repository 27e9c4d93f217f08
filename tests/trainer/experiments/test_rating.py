import numpy as np
import pytest

from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.experiments.rating import rating, rating_of_new_users
from deepmoviematch.trainer.models.seed import SeedRows
from tests.trainer.experiments.tiny import RETRIEVAL, SEED


def test_rating_measures_in_scaled_units_and_in_stars(dataset: Dataset) -> None:
    rows = SeedRows.of_ratings(dataset.catalogue, dataset.ratings, SEED)
    table = rating(dataset, rows, SEED)
    baselines = ["global mean", "user mean", "movie mean", "user + movie bias"]
    assert list(table.rows) == [*baselines, "user + movie bias + 16 factors", "the same, Bayesian", "seed"]
    held = rows.ratings[rows.test] - rows.ratings[rows.train].mean()
    rmse = table.rows["global mean"]["rmse_stars"]
    assert rmse["mean"] == pytest.approx(np.sqrt(np.mean(held**2)), rel=1e-5)
    assert rmse["low"] < rmse["mean"] < rmse["high"]
    assert table.rows["global mean"]["mse_scaled"] == pytest.approx(np.mean(held**2) / 4, rel=1e-5)
    assert table.about["repeated_share"] == 0
    assert table.notes == ("intervals: 95 % bootstrap over users, the same ones for every model",)


def test_stars_are_stars_whatever_the_scale(dataset: Dataset) -> None:
    """Ratings 2..10 are the fixture's 1..5 doubled, so nothing in stars or in scaled units may change."""
    doubled = Ratings.from_columns(
        dataset.ratings.user_ids,
        dataset.ratings.users,
        dataset.ratings.items,
        2 * dataset.ratings.ratings,
        dataset.ratings.timestamps,
    )
    tables = []
    for ratings in (dataset.ratings, doubled):
        world = Dataset("world", dataset.catalogue, ratings)
        tables.append(rating(world, SeedRows.of_ratings(world.catalogue, ratings, SEED), SEED))
    for name in ("global mean", "user + movie bias"):
        for figure in ("mse_scaled", "rmse_stars", "mae_stars"):
            assert tables[1].rows[name][figure] == pytest.approx(tables[0].rows[name][figure], rel=1e-4)


def test_rating_says_how_many_test_rows_repeat_training_rows(dataset: Dataset) -> None:
    rows = SeedRows.of_ratings(dataset.catalogue, dataset.ratings, SEED)
    twice = SeedRows(
        **{
            name: getattr(rows, name)
            for name in ("genre_names", "feature_names", "catalogue", "carried", "carried_names")
        },
        user_ids=rows.user_ids,
        item_ids=rows.item_ids,
        users=rows.users,
        items=rows.items,
        ratings=rows.ratings,
        train=rows.train,
        test=np.concatenate([rows.test, rows.train[: len(rows.test)]]),
        leaks=True,
    )
    table = rating(dataset, twice, SEED)
    assert table.about["repeated_share"] == 0.5
    assert table.notes[1].startswith("50.0% of the test rows repeat")
    assert "computed from test ratings too" in table.notes[2]


def test_a_rating_head_is_asked_for_ratings_of_users_it_has_not_seen(dataset: Dataset) -> None:
    table = rating_of_new_users(dataset, RETRIEVAL, seed=1, splits=2)
    assert list(table.rows) == ["mean", "user + item bias", "rating head"]
    errors = {name: figures["rmse_stars"]["mean"] for name, figures in table.rows.items()}
    assert errors["rating head"] < 0.97 * errors["user + item bias"]
    ratio = table.rows["mean"]["rmse, ours / it"]
    assert ratio["mean"] == pytest.approx(errors["rating head"] / errors["mean"], rel=1e-5)
    told = 0.8 * 12
    assert table.about["asked_ratings"] == 2 * 6 * round(12 - np.floor(told))
