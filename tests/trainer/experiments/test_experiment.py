import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.canonical import write
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation.protocols import PROTOCOLS
from deepmoviematch.trainer.experiments import contender, peers
from deepmoviematch.trainer.experiments.contender import FittedRecipe
from deepmoviematch.trainer.experiments.experiment import evaluate, named, possible, rankings
from deepmoviematch.trainer.experiments.plan import Plan
from deepmoviematch.trainer.experiments.table import Table
from deepmoviematch.trainer.experiments.tuning import PEERS
from deepmoviematch.trainer.peers.rankers import EaseRanker, Popularity, Ranker
from deepmoviematch.trainer.recipe import Recipe
from tests.trainer.experiments.tiny import RETRIEVAL, SEED


def table_of(dataset: Dataset, recipe: Recipe, *protocols: str, **plan: Any) -> Table:
    (table,) = rankings(dataset, FittedRecipe(recipe), Plan(protocols, **plan))
    return table


def test_every_peer_stands_beside_the_recipe_popularity_first(dataset: Dataset) -> None:
    table = table_of(dataset, RETRIEVAL, "new-users", peers=True)
    assert list(table.rows) == ["popularity", "popularity x genre", "item-knn", "ease", "ials", "ours"]
    assert table.about["asked_users"] == 6
    for figures in table.rows.values():
        for metric in ("ndcg@100", "ndcg@10", "recall@20", "recall@50"):
            assert 0 <= figures[metric]["low"] <= figures[metric]["mean"] <= figures[metric]["high"] <= 1
    for peer in ("item-knn", "ease", "ials"):
        assert table.rows[peer]["tuning_s"] >= table.rows[peer]["fit_s"] >= 0
        assert len(table.rows[peer]["parameters"]) == 1


@pytest.mark.parametrize("protocol", ["new-users", "cold-items"])
def test_without_genres_nothing_is_measured_of_them(
    protocol: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contender, "_fit_recipe", lambda _, *train: Popularity(*train))
    monkeypatch.setattr(peers, "PEERS", {name: PEERS[name] for name in ("popularity x genre", "ease")})
    catalogue = replace(dataset.catalogue, genre_names=(), genres=dataset.catalogue.genres[:, :0])
    for bare in (False, True):
        asked = replace(dataset, catalogue=catalogue) if bare else dataset
        table = table_of(asked, RETRIEVAL, protocol, peers=True)
        assert any("genre" in name for name in table.rows) is not bare
        assert all(("diversity@10" in figures) is not bare for figures in table.rows.values())


def test_ours_is_compared_with_every_peer_in_every_metric(dataset: Dataset) -> None:
    table = table_of(dataset, RETRIEVAL, "new-users", peers=True, splits=2)
    ours = table.rows["ours"]
    for peer in ("popularity", "popularity x genre", "item-knn", "ease", "ials"):
        assert table.rows[peer]["ours / it"] == table.details[peer]["ratios"]["ndcg@100"]
        for metric in ("ndcg@100", "ndcg@10", "recall@20"):
            means = ours[metric]["mean"], table.rows[peer][metric]["mean"]
            ratio, difference = (table.details[peer][name][metric] for name in ("ratios", "differences"))
            assert ratio["mean"] == pytest.approx(means[0] / means[1], abs=1e-5)
            assert difference["mean"] == pytest.approx(means[0] - means[1], abs=1e-5)
            assert difference["low"] <= difference["mean"] <= difference["high"]
    strongest = table.about["best_peer"]["on the targets"]["ndcg@100"]
    assert table.rows[strongest]["ndcg@100"]["mean"] == max(
        table.rows[peer]["ndcg@100"]["mean"] for peer in table.rows if peer != "ours"
    )
    assert table.about["best_peer"]["on validation users"] in table.rows


@pytest.mark.parametrize("untuned", [0, 1])
def test_a_split_too_small_to_be_split_again_has_no_say_in_who_is_best_by_validation(
    untuned: int, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation_trials, asked = peers._validation_trials, []

    def some(*arguments: Any) -> Any:
        asked.append(arguments)
        return None if len(asked) - 1 == untuned else validation_trials(*arguments)

    monkeypatch.setattr(peers, "_validation_trials", some)
    monkeypatch.setattr(peers, "PEERS", {name: PEERS[name] for name in ("item-knn", "ease")})
    monkeypatch.setattr(contender, "_fit_recipe", lambda _, *train: Popularity(*train))
    table = table_of(dataset, RETRIEVAL, "new-users", peers=True, splits=2)
    assert len(asked) == 2
    assert table.about["best_peer"]["on validation users"] in {"item-knn", "ease"}
    assert table.rows["ease"]["parameters"][untuned] == [200.0]


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_protocol_has_its_table(name: str, dataset: Dataset) -> None:
    table = table_of(dataset, RETRIEVAL, name)
    assert table.about["protocol"] == name
    assert set(PROTOCOLS[name].metrics) <= set(table.rows["ours"])
    json.dumps(table.to_json(), allow_nan=False)


def test_protocols_of_one_split_share_the_fits(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[str] = []
    fit_recipe, fit_ease = contender._fit_recipe, EaseRanker.__init__

    def counted(*arguments: Any) -> Ranker:
        fits.append("ours")
        return fit_recipe(*arguments)

    def counted_ease(self: EaseRanker, *arguments: Any) -> None:
        fits.append(f"ease on {len(arguments[1])} with {arguments[2]}")
        fit_ease(self, *arguments)

    monkeypatch.setattr(contender, "_fit_recipe", counted)
    monkeypatch.setattr(EaseRanker, "__init__", counted_ease)
    names = ("three-genres", "new-users", "three-likes")
    tables = rankings(dataset, FittedRecipe(RETRIEVAL), Plan(names, peers=True))
    assert [table.about["protocol"] for table in tables] == list(names)
    assert fits.count("ours") == 1
    assert len(fits) == len({*fits})
    alone = table_of(dataset, RETRIEVAL, "three-likes", peers=True)
    assert len(alone.rows) == 6
    for model in alone.rows:
        assert alone.rows[model]["ndcg@100"] == tables[2].rows[model]["ndcg@100"]
        assert alone.rows[model].get("parameters") == tables[2].rows[model].get("parameters")


def test_the_towers_of_each_split_have_a_seed_of_their_own(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def fit(recipe: Recipe, catalogue: Catalogue, ratings: Ratings) -> Ranker:
        seeds.append(recipe.seed)
        return Popularity(catalogue, ratings)

    monkeypatch.setattr(contender, "_fit_recipe", fit)
    table = table_of(dataset, replace(RETRIEVAL, seed=5), "new-users", splits=3)
    assert seeds == [5, 6, 7]
    assert table.about["asked_users"] == 18


@pytest.mark.parametrize(("protocol", "learnt"), [("new-users", False), ("next-item", True)])
def test_order_is_learnt_where_someone_asks_what_comes_next(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, protocol: str, learnt: bool
) -> None:
    fitted: list[Recipe] = []

    def fit(recipe: Recipe, catalogue: Catalogue, ratings: Ratings) -> Ranker:
        fitted.append(recipe)
        return Popularity(catalogue, ratings)

    monkeypatch.setattr(contender, "_fit_recipe", fit)
    table_of(dataset, replace(RETRIEVAL, sequence_epochs=3), protocol)
    assert fitted == [replace(RETRIEVAL, validation_share=0.0, sequence_epochs=3 if learnt else 0)]


def test_next_item_asks_the_peers_once_and_persons_are_resampled_whole(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contender, "_fit_recipe", lambda _, *train: Popularity(*train))
    once, thrice = (table_of(dataset, RETRIEVAL, "next-item", splits=splits) for splits in (1, 3))
    assert once.rows["popularity"]["hit@10"] == pytest.approx(thrice.rows["popularity"]["hit@10"])
    assert once.rows["ours"]["hit@10"] == pytest.approx(thrice.rows["ours"]["hit@10"])


def test_low_ratings_are_neither_told_nor_masked_where_likes_alone_are_asked(dataset: Dataset) -> None:
    masked, unmasked = (table_of(dataset, SEED, "new-users", history=history) for history in ("all", "likes"))
    assert "low ratings included" in masked.about["masked"]
    assert "neither told nor masked" in unmasked.about["masked"]
    figures = [table.rows["popularity"]["ndcg@100"]["mean"] for table in (masked, unmasked)]
    assert figures[1] <= figures[0]  # more wrong items are in the running


def test_slices_are_of_users_and_of_targets(dataset: Dataset) -> None:
    table = table_of(dataset, SEED, "new-users", splits=2)
    slices = table.details["popularity"]["slices"]
    assert list(slices) == ["length of the history", "popularity of the target", "genre of the target"]
    assert sum(part["users"] for part in slices["length of the history"].values()) == 12
    assert set(slices["genre of the target"]) == {"Funny", "Sad", "Short"}
    for parts in slices.values():
        for part in parts.values():
            assert 0 <= part["low"] <= part["mean"] <= part["high"] <= 1


class Same:
    """Shows everyone the same, without a thought for what they told."""

    def __init__(self, items: int) -> None:
        self.items = items

    def score(self, users: UserBatch) -> Floats:
        return np.tile(-np.arange(self.items, dtype=np.float32), (len(users), 1))


def wide(items: int, users: int, liked: int) -> Dataset:
    """Each user likes `liked` items in a row, each at another place."""
    names = tuple(f"i{row}" for row in range(items))
    catalogue = Catalogue(
        names, names, np.zeros(items, np.int32), ("a", "b"), np.arange(items)[:, None] % 2 == np.arange(2)
    )
    starts = 10 + 37 * np.arange(users)
    rows = (starts[:, None] + np.arange(liked)) % items
    ratings = Ratings(
        tuple(f"u{user}" for user in range(users)),
        np.repeat(np.arange(users), liked).astype(np.int32),
        rows.ravel().astype(np.int32),
        np.full(users * liked, 5, dtype=np.float32),
        np.arange(users * liked),
    )
    return Dataset("wide", catalogue, ratings)


def test_a_model_that_shows_everyone_the_same_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    world = wide(items=4000, users=100, liked=10)
    monkeypatch.setattr(contender, "_fit_recipe", lambda *_: Same(4000))
    table = table_of(world, RETRIEVAL, "new-users")
    assert "must differ, got a mean overlap of 100.0%" in table.failure
    assert "with ours: the model has collapsed" in table.failure
    assert table.to_json()["failure"] == table.failure


@pytest.mark.parametrize(
    ("items", "users", "liked"),
    [(10, 5, 4), (10, 60, 10), (30, 60, 30), (12, 60, 6)],
    ids=["five users", "everyone liked everything", "and of thirty items", "a dozen items"],
)
def test_tiny_data_raise_no_false_alarm_and_no_nan(
    items: int, users: int, liked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = wide(items, users, liked)
    monkeypatch.setattr(contender, "_fit_recipe", lambda *_: Same(items))
    for name in possible(world, Plan(("all",))):
        table = table_of(world, RETRIEVAL, name, peers=True)
        assert table.failure == ""
        json.dumps(table.to_json(), allow_nan=False)


def test_users_who_tell_the_same_may_be_shown_the_same(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = wide(items=400, users=200, liked=10)
    alike = replace(world.catalogue, genre_names=("a", "b"), genres=np.ones((400, 2), dtype=np.bool_))
    monkeypatch.setattr(contender, "_fit_recipe", lambda *_: Same(400))
    assert table_of(replace(world, catalogue=alike), RETRIEVAL, "two-genres").failure == ""


def test_all_is_what_the_data_allow(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan(("all",))
    assert possible(dataset, plan) == tuple(PROTOCOLS)
    timeless = replace(dataset, ratings=replace(dataset.ratings, timestamps=None))
    assert set(PROTOCOLS) - set(possible(timeless, plan)) == {"next-item", "time"}
    assert "next-item, time are left out: this protocol needs timestamps" in capsys.readouterr().err
    bare = replace(
        dataset,
        catalogue=replace(dataset.catalogue, genre_names=(), genres=np.zeros((30, 0), dtype=np.bool_)),
    )
    assert set(PROTOCOLS) - set(possible(bare, plan)) == {"genres-only", "two-genres", "three-genres"}
    few = replace(dataset, ratings=dataset.ratings.take(dataset.ratings.users < 4))
    assert set(possible(few, plan)) == {"next-item", "time", "cold-items"}


def test_all_stands_beside_other_protocols_and_each_is_asked_once(dataset: Dataset) -> None:
    every = tuple(PROTOCOLS)
    assert named(dataset, Plan(("all", "rating"))) == (*every, "rating")
    assert named(dataset, Plan(("time", "all"))) == ("time", *(name for name in every if name != "time"))
    assert named(dataset, Plan(("all",)), but="time") == tuple(name for name in every if name != "time")
    assert named(dataset, Plan(("rating", "time", "rating"))) == ("rating", "time")


def test_a_recipe_called_like_a_peer_is_refused(dataset: Dataset) -> None:
    with pytest.raises(TrainingError, match="must not be called like a peer, got 'ease'"):
        table_of(dataset, replace(RETRIEVAL, name="ease"), "new-users")


def test_what_cannot_be_asked_is_refused_by_name_before_anything_is_fitted(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(contender, "fit_retrieval")
    alike = np.full_like(dataset.ratings.ratings, 4)
    write(replace(dataset, ratings=replace(dataset.ratings, ratings=alike, timestamps=None)), tmp_path)
    plan = Plan(("new-users", "next-item", "moments", "rating"))
    with pytest.raises(TrainingError) as caught:
        evaluate(tmp_path, RETRIEVAL, plan)
    assert re.findall(r"([a-z-]+): this protocol needs", str(caught.value)) == [
        "next-item",
        "moments",
        "rating",
    ]
    assert str(caught.value).endswith("; leave next-item, moments, rating out")


def test_more_splits_than_the_users_make_are_refused_before_anything_is_fitted(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(contender, "fit_retrieval")
    write(dataset, tmp_path)
    with pytest.raises(
        TrainingError, match=r"^new-users: folds must not share users.*there are 10 such folds"
    ):
        evaluate(tmp_path, RETRIEVAL, Plan(("new-users",), splits=11))


def test_a_recipe_without_ratings_is_refused_by_the_rating_protocol(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\na,A (1999),x\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,a,4,0\n")
    with pytest.raises(TrainingError, match="needs a recipe that predicts ratings"):
        evaluate(tmp_path, replace(RETRIEVAL, rating_head=False), Plan(("rating",)))
