from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepmoviematch.data.tables import Dataset, Ratings
from deepmoviematch.trainer import evaluation
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation import PROTOCOLS, evaluate, rankings
from deepmoviematch.trainer.peers import Popularity
from deepmoviematch.trainer.rating import rating
from deepmoviematch.trainer.recipe import RetrievalRecipe, SeedRecipe
from deepmoviematch.trainer.seed import SeedRows

SEED = SeedRecipe(name="seed", epochs=2)
RETRIEVAL = RetrievalRecipe(
    name="ours", embedding_dim=8, hidden=(8,), epochs=3, batch_size=16, ease_penalty=5
)


def test_every_peer_stands_beside_the_recipe_popularity_first(dataset: Dataset) -> None:
    table = rankings(dataset, RETRIEVAL, "new-users", seeds=[1], peers=True)
    assert list(table.rows) == ["popularity", "popularity x genre", "item-knn", "ease", "ials", "ours"]
    assert table.about["asked_users"] == 6
    for figures in table.rows.values():
        for metric in ("ndcg@100", "ndcg@10", "recall@20", "recall@50"):
            assert 0 <= figures[metric]["low"] <= figures[metric]["mean"] <= figures[metric]["high"] <= 1
    ratio = table.rows["ours"]["ndcg@100"]["mean"] / table.rows["popularity"]["ndcg@100"]["mean"]
    assert table.rows["popularity"]["ours / it"]["mean"] == pytest.approx(ratio, abs=1e-5)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_protocol_has_its_table(name: str, dataset: Dataset) -> None:
    table = rankings(dataset, RETRIEVAL, name, seeds=[1], peers=False)
    assert table.about["protocol"] == name
    assert set(PROTOCOLS[name].metrics) <= set(table.rows["ours"])


def test_splits_are_pooled(dataset: Dataset) -> None:
    table = rankings(dataset, SEED, "new-users", seeds=[1, 2, 3], peers=False)
    assert list(table.rows) == ["popularity", "seed"]
    assert table.about["asked_users"] == 18


def test_a_model_that_shows_everyone_the_same_fails(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_fit_recipe", lambda _, *train: Popularity(*train))
    monkeypatch.setattr(evaluation, "MOST_OVERLAP", 0.3)
    with pytest.raises(TrainingError, match=r"must differ, got a mean overlap of .* with ours"):
        rankings(dataset, RETRIEVAL, "new-users", seeds=[1], peers=False)


def test_rating_measures_in_scaled_units_and_in_stars(dataset: Dataset) -> None:
    rows = SeedRows.of_ratings(dataset.catalogue, dataset.ratings, SEED)
    table = rating(dataset, rows, SEED)
    assert list(table.rows) == ["global mean", "user mean", "movie mean", "user + movie bias", "seed"]
    held = rows.ratings[rows.test] - rows.ratings[rows.train].mean()
    assert table.rows["global mean"]["rmse_stars"] == pytest.approx(np.sqrt(np.mean(held**2)), rel=1e-5)
    assert table.rows["global mean"]["mse_scaled"] == pytest.approx(np.mean(held**2) / 4, rel=1e-5)
    assert table.about["repeated_share"] == 0
    assert table.notes == ()


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


def test_a_recipe_called_like_a_peer_is_refused(dataset: Dataset) -> None:
    with pytest.raises(TrainingError, match="must not be called like a peer, got 'ease'"):
        rankings(dataset, replace(RETRIEVAL, name="ease"), "new-users", seeds=[1], peers=False)


def test_next_item_has_one_split(dataset: Dataset) -> None:
    with pytest.raises(TrainingError, match="has one split, got --splits 2"):
        rankings(dataset, RETRIEVAL, "next-item", seeds=[1, 2], peers=False)


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
    assert table.notes[0].startswith("50.0% of the test rows repeat")
    assert "computed from test ratings too" in table.notes[1]


def test_a_recipe_without_ratings_is_refused_by_the_rating_protocol(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\na,A (1999),x\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,a,4,0\n")
    with pytest.raises(TrainingError, match="needs a recipe that predicts ratings"):
        evaluate(tmp_path, RETRIEVAL, "rating", seed=1, splits=1, peers=False)
