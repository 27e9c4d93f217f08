from pathlib import Path

import numpy as np
import pytest

from deepmoviematch.data.tables import Catalogue, Dataset, Ratings
from deepmoviematch.trainer import evaluation
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation import evaluate, new_users, rating
from deepmoviematch.trainer.peers import Popularity, Ranker
from deepmoviematch.trainer.recipe import RetrievalRecipe, SeedRecipe
from deepmoviematch.trainer.seed import SeedRows

SEED = SeedRecipe(name="seed", epochs=2)
RETRIEVAL = RetrievalRecipe(
    name="ours", embedding_dim=8, hidden=(8,), epochs=3, batch_size=16, ease_penalty=5
)


def test_new_users_puts_popularity_and_every_peer_beside_the_recipe(dataset: Dataset) -> None:
    table = new_users(dataset, RETRIEVAL, seed=1, peers=True)
    assert list(table.rows) == ["popularity", "popularity x genre", "item-knn", "ease", "ours"]
    assert (table.about["train_users"], table.about["test_users"]) == (54, 6)
    for figures in table.rows.values():
        for metric in ("ndcg@100", "ndcg@10", "recall@20", "recall@50"):
            assert 0 <= figures[metric]["low"] <= figures[metric]["mean"] <= figures[metric]["high"] <= 1
    lead = table.rows["ours"]["ndcg@100"]["mean"] - table.rows["popularity"]["ndcg@100"]["mean"]
    assert table.rows["popularity"]["behind_by"]["mean"] == pytest.approx(lead, abs=1e-6)


def test_the_seed_recipe_ranks_too(dataset: Dataset) -> None:
    assert list(new_users(dataset, SEED, seed=1, peers=False).rows) == ["popularity", "seed"]


def test_rating_measures_in_scaled_units_and_in_stars(dataset: Dataset) -> None:
    rows = SeedRows.of_ratings(dataset.catalogue, dataset.ratings, SEED)
    table = rating(dataset, rows, SEED)
    assert list(table.rows) == ["global mean", "user mean", "movie mean", "user + movie bias", "seed"]
    held = rows.ratings[rows.test] - rows.ratings[rows.train].mean()
    assert table.rows["global mean"]["rmse"] == pytest.approx(np.sqrt(np.mean(held**2)), rel=1e-5)
    assert table.rows["global mean"]["mse_scaled"] == pytest.approx(np.mean(held**2) / 4, rel=1e-5)
    assert table.about["repeated_share"] == 0
    assert table.notes == ()


def test_rating_says_how_many_test_rows_repeat_training_rows(dataset: Dataset) -> None:
    rows = SeedRows.of_ratings(dataset.catalogue, dataset.ratings, SEED)
    twice = SeedRows(
        **{name: getattr(rows, name) for name in ("genre_names", "feature_names", "catalogue")},
        user_ids=rows.user_ids,
        item_ids=rows.item_ids,
        users=rows.users,
        items=rows.items,
        ratings=rows.ratings,
        train=rows.train,
        test=np.concatenate([rows.test, rows.train[: len(rows.test)]]),
    )
    table = rating(dataset, twice, SEED)
    assert table.about["repeated_share"] == 0.5
    assert table.notes[0].startswith("50.0% of the test rows repeat")


def test_a_recipe_without_ratings_is_refused_by_the_rating_protocol(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\na,A (1999),x\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,a,4,0\n")
    with pytest.raises(TrainingError, match="needs a recipe that predicts ratings"):
        evaluate(tmp_path, RETRIEVAL, "rating", seed=1, peers=False)


@pytest.mark.parametrize("best", [0.5, 8.0, 1.0, 64.0])
def test_a_peers_parameter_is_searched_past_the_start_in_either_direction(
    best: float, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def peer(catalogue: Catalogue, ratings: Ratings, value: float) -> Ranker:
        tried.append(value)
        return Popularity(catalogue, ratings)

    def report(*_: object) -> object:
        return _Report({"ndcg@100": np.array([-abs(np.log2(tried[-1] / best))])})

    monkeypatch.setattr(evaluation, "rank_held_out", report)
    tuned = evaluation._tuned
    tuned(peer, 1.0, dataset.catalogue, dataset.ratings, 1)
    assert tried[-1] == best
    assert {best / 2, best * 2} <= set(tried)


class _Report:
    def __init__(self, per_user: dict[str, object]) -> None:
        self.per_user = per_user
