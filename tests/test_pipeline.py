"""Training, export, index and server agree: the same users get the same ranking at the wire."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmoviematch.client import Client, pb
from deepmoviematch.data import canonical
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.indexer.build import build
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.host.options import ServeOptions
from deepmoviematch.server.host.process import create_server
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.trainer.quiet import import_tensorflow

import_tensorflow()

from deepmoviematch.trainer.__main__ import main  # noqa: E402
from deepmoviematch.trainer.errors import TrainingError  # noqa: E402
from deepmoviematch.trainer.evaluation.protocols import PROTOCOLS, Trial, held_out  # noqa: E402
from deepmoviematch.trainer.evaluation.ranking import meter_of, rank  # noqa: E402
from deepmoviematch.trainer.experiments.plan import Plan  # noqa: E402
from deepmoviematch.trainer.experiments.wire import Served, Units, ask, evaluate_served, request_of  # noqa: E402
from deepmoviematch.trainer.fit import fit_retrieval  # noqa: E402
from deepmoviematch.trainer.models.two_towers import TwoTowers  # noqa: E402
from deepmoviematch.trainer.recipe import RetrievalRecipe  # noqa: E402
from deepmoviematch.trainer.run import Fitted, write_run  # noqa: E402

ITEMS, USERS, EACH = 150, 80, 20
RECIPE = RetrievalRecipe(
    name="tiny",
    embedding_dim=8,
    hidden=(16,),
    epochs=3,
    batch_size=16,
    ease_penalty=5.0,
    validation_share=0.2,
    refit=False,
    sequence_epochs=2,
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Four groups of users, each with a quarter of the items; ratings of 1 to 10."""
    rng = np.random.default_rng(3)
    rows = np.arange(ITEMS)
    users = np.repeat(np.arange(USERS), EACH)
    items = np.concatenate([rng.choice(ITEMS, EACH, replace=False, p=_taste(user)) for user in range(USERS)])
    catalogue = Catalogue(
        item_ids=tuple(f"isbn-{row}" for row in rows),
        titles=tuple(f"Book {row}" for row in rows),
        years=np.where(rows % 3, 1950 + rows % 60, 0).astype(np.int32),
        genre_names=("Crime", "Poetry", "Science", "Travel"),
        genres=rows[:, None] % 4 == np.arange(4),
    )
    ratings = Ratings.from_columns(
        tuple(f"reader {user}" for user in range(USERS)),
        users.astype(np.int32),
        items.astype(np.int32),
        np.where(
            items % 4 == users % 4, rng.integers(7, 11, len(users)), rng.integers(1, 9, len(users))
        ).astype(np.float32),
        rng.permutation(len(users)).astype(np.int64),
    )
    return Dataset("readers", catalogue, ratings)


def _taste(user: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    weights = np.where(np.arange(ITEMS) % 4 == user % 4, 8.0, 1.0)
    shares: np.ndarray[tuple[int], np.dtype[np.float64]] = weights / weights.sum()
    return shares


@pytest.fixture(scope="module")
def towers(dataset: Dataset) -> Fitted[TwoTowers]:
    return fit_retrieval(dataset.catalogue, dataset.ratings, RECIPE)


@pytest.fixture(scope="module")
def folder(dataset: Dataset, towers: Fitted[TwoTowers], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, a run of them, and a generation in a store."""
    folder = tmp_path_factory.mktemp("pipeline")
    canonical.write(dataset, folder / "data")
    write_run(folder / "run", fitted=towers, recipe=RECIPE, dataset=dataset)
    build(folder / "run", Store(folder / "store"))
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    current = Current()
    current.set(Recommender(Store(folder / "store").load()))
    wiring = create_server(current, ServeOptions(store=folder / "store", port=0))
    wiring.start()
    wiring.health.serve()
    try:
        yield f"127.0.0.1:{wiring.port}"
    finally:
        wiring.health.end()
        wiring.server.stop(None).wait()


@pytest.mark.parametrize("history", ["all", "likes"])
@pytest.mark.parametrize("name", sorted(PROTOCOLS.keys() - {"cold-items"}))
def test_the_wire_gives_the_metrics_that_training_measured(
    name: str, history: str, dataset: Dataset, towers: Fitted[TwoTowers], address: str
) -> None:
    catalogue, protocol = dataset.catalogue, PROTOCOLS[name]
    split = protocol.split(catalogue, dataset.ratings, 1, 0)
    trial = protocol.trial(catalogue, split, 1, history=history)
    meter = meter_of(trial, catalogue)
    with Client(address) as client:
        asked = ask(client, trial, catalogue, Units(dataset.ratings), meter)
    assert (asked.missing, asked.exact) == (0, True)
    offline = rank(towers.towers, trial, catalogue).per_user
    told = trial.users.has_features  # to others the server shows what is popular
    assert told.any()
    for metric in ("ndcg@100", "ndcg@10", "recall@20", "recall@50", "hit@10"):
        assert meter.report().per_user[metric][told] == pytest.approx(offline[metric][told], abs=1e-6)


def test_a_caller_says_what_was_told_in_the_units_of_the_data(dataset: Dataset) -> None:
    """Ratings run from 1 to 10, so that a rating is twice the stars."""
    told = UserBatch.of(4, [{2: 4.5}], [{7: 4.0, 5: 0.5}], [True])
    hidden = UserBatch.of(4, [{}], [{5: 0.5, 7: 4.0, 9: 5.0}])
    targets = np.array([0], dtype=np.int32), np.array([11], dtype=np.int32)
    trial = Trial(dataset.ratings, ("a",), told, hidden, *targets)
    assert request_of(trial, 0, dataset.catalogue, Units(dataset.ratings)) == pb.RecommendRequest(
        user=pb.UserFeatures(
            genre_preferences={"Science": 4.5},
            history=[
                pb.Interaction(item_id="isbn-7", rating=8),
                pb.Interaction(item_id="isbn-5", rating=1),
            ],
        ),
        page_size=100,
        exclude_item_ids=["isbn-9"],
        intent=pb.INTENT_NEXT,
    )


def test_a_run_is_asked_for_the_users_whom_it_held_out(
    folder: Path, address: str, towers: Fitted[TwoTowers]
) -> None:
    plan = Plan(("all",), peers=False)
    tables = evaluate_served(folder / "data", address, plan, run=folder / "run")
    assert {table.about["protocol"] for table in tables} == PROTOCOLS.keys() - {"cold-items"}
    for table in tables:
        assert list(table.rows) == ["popularity", "served"]
        assert table.failure == ""
        assert "the users are those whom the run held out" in table.notes[-1]
        assert "at most 0.0e+00 apart" in table.notes[-1]
    by_name = {table.about["protocol"]: table for table in tables}
    measured = by_name["new-users"]
    assert measured.about["asked_users"] == towers.metrics["users"]
    for metric, interval in towers.metrics["rankings"]["towers"].items():
        if metric in measured.ours and isinstance(interval, dict):
            assert measured.ours[metric]["mean"] == pytest.approx(interval["mean"], abs=1e-4)


@pytest.mark.parametrize("refit", [False, True])
def test_towers_that_were_fitted_again_on_everyone_have_held_nobody_out(
    folder: Path, address: str, dataset: Dataset, refit: bool
) -> None:
    run = Run.load(folder / "run")
    run.provenance["metrics"]["refit_on_everyone"] = refit
    asked = held_out(folder / "run", run.provenance, dataset)
    assert (asked is None) == refit
    with Client(address) as client:
        served = Served(client, address, Units(dataset.ratings), run, asked)
    assert ["their run was fitted on everyone" in caveat for caveat in served.caveats] == [True] * refit


@pytest.mark.parametrize("refit", [False, True])
def test_a_run_is_asked_for_users_held_out_of_the_very_ratings_that_it_was_fitted_on(
    folder: Path, address: str, dataset: Dataset, refit: bool, tmp_path: Path
) -> None:
    """Without one user others are drawn, most of whom the run was fitted on."""
    others = replace(dataset, ratings=dataset.ratings.take(dataset.ratings.users != 5))
    canonical.write(others, tmp_path / "less one")
    run = shutil.copytree(folder / "run", tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["metrics"]["refit_on_everyone"] = refit
    (run / "manifest.json").write_text(json.dumps(manifest))
    plan = Plan(("new-users",))
    if refit:  # where nobody is said to be unseen, any ratings of the same items will do
        (table,) = evaluate_served(tmp_path / "less one", address, plan, run=run)
        assert "trained on these users" in table.notes[0]
        return
    message = rf"^--data must be what the run held users out of, .* got less one .* {dataset.digest:.12}; "
    with pytest.raises(TrainingError, match=message):
        evaluate_served(tmp_path / "less one", address, plan, run=run)


def test_without_the_run_the_table_says_that_it_may_flatter(folder: Path, address: str) -> None:
    (table,) = evaluate_served(folder / "data", address, Plan(("new-users",), splits=2))
    assert "may have been trained on these users and targets" in table.notes[0]
    assert table.about["recipe"] == {}


def test_a_generation_of_another_run_fails(
    folder: Path, address: str, dataset: Dataset, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, seed=2)
    other = fit_retrieval(dataset.catalogue, dataset.ratings, recipe)
    write_run(tmp_path, fitted=other, recipe=recipe, dataset=dataset)
    (table,) = evaluate_served(folder / "data", address, Plan(("new-users",)), run=tmp_path)
    assert "the wire must rank as the run's towers do, got an NDCG" in table.failure


def test_items_that_the_generation_does_not_know_are_counted_and_take_their_places(
    dataset: Dataset, address: str
) -> None:
    renamed = replace(
        dataset.catalogue,
        item_ids=tuple(
            f"other-{row}" if row < 75 else name for row, name in enumerate(dataset.catalogue.item_ids)
        ),
    )
    trial = PROTOCOLS["new-users"].split(renamed, dataset.ratings, 1, 0)
    meter = meter_of(trial, renamed)
    with Client(address) as client:
        asked = ask(client, trial, renamed, Units(dataset.ratings), meter)
    assert asked.missing == len(np.unique(trial.users.items[trial.users.items < 75]))
    assert (meter.report().tops == -1).any()


def test_a_server_that_knows_nothing_of_the_data_is_refused(
    dataset: Dataset, address: str, tmp_path: Path
) -> None:
    renamed = replace(
        dataset.catalogue, item_ids=tuple(f"other-{name}" for name in dataset.catalogue.item_ids)
    )
    canonical.write(replace(dataset, catalogue=renamed), tmp_path / "shop")
    with pytest.raises(TrainingError, match="must know items of the data, got none that were rated in shop"):
        evaluate_served(tmp_path / "shop", address, Plan(("genres-only",)))


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("cold-items", {}, "a server must be asked for what it answers, got cold-items"),
        ("new-users", {"splits": 2}, "a run held users out once, got --splits 2"),
    ],
)
def test_what_cannot_be_asked_at_the_wire_is_refused(
    protocol: str, options: dict[str, Any], message: str, folder: Path, address: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        evaluate_served(folder / "data", address, Plan((protocol,), **options), run=folder / "run")


def test_the_command_asks_a_server(folder: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "evaluate",
        "--data",
        str(folder / "data"),
        "--at",
        address,
        "--run",
        str(folder / "run"),
        "--json",
    ]
    assert main(command) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["at"] == address
    assert set(table["models"]) == {"popularity", "served"}


def test_a_server_that_is_not_there_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--data", str(folder / "data"), "--at", "127.0.0.1:1"]) == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("error: the server at 127.0.0.1:1 must answer, got")
    )


def test_what_comes_next_is_explained_to_the_digit(dataset: Dataset, address: str) -> None:
    ratings, ids = dataset.ratings, dataset.catalogue.item_ids
    history = [
        pb.Interaction(item_id=ids[item], rating=rating)
        for item, rating in zip(ratings.items[:EACH], ratings.ratings[:EACH], strict=True)
    ]
    user = pb.UserFeatures(history=history, genre_preferences={"Crime": 5, "Travel": 1})
    with Client(address) as client:
        for intent in (pb.INTENT_TASTE, pb.INTENT_NEXT):
            request = pb.RecommendRequest(user=user, intent=intent, explain=True)
            for item in client.recommend(request).results:
                why = item.explanation
                parts = sum(each.contribution for each in why.history)
                parts += sum(each.contribution for each in why.genres)
                total = why.baseline_score + parts + why.other_contributions
                assert total == pytest.approx(item.score, abs=1e-3)


def test_leaving_a_book_out_moves_the_score_as_the_explanation_says(dataset: Dataset, address: str) -> None:
    told, readers = 8, 20
    ratings, ids = dataset.ratings, dataset.catalogue.item_ids
    correlations, said, seen = [], [], []
    with Client(address) as client:

        def best(history: list[pb.Interaction], **fields: Any) -> pb.Recommendation:
            user = pb.UserFeatures(history=history)
            return client.recommend(pb.RecommendRequest(user=user, page_size=1, **fields)).results[0]

        for first in ratings.offsets[:readers]:
            history = [
                pb.Interaction(item_id=ids[ratings.items[row]], rating=ratings.ratings[row])
                for row in range(first, first + told)
            ]
            whole = best(history, explain=True)
            parts = {each.item_id: each.contribution for each in whole.explanation.history}
            expected = [parts[each.item_id] for each in history]
            without = ([each for each in history if each is not left_out] for left_out in history)
            only = [whole.item_id]
            moved = [whole.score - best(rest, candidate_item_ids=only).score for rest in without]
            places, others = (np.argsort(np.argsort(each)) for each in (moved, expected))
            correlations.append(np.corrcoef(places, others)[0, 1])
            said.append(np.array(expected) - np.mean(expected))
            seen.append(np.array(moved) - np.mean(moved))
    # Between `told` numbers that have nothing to do with each other, rank correlation has a
    # standard deviation of (told - 1)^-1/2 (Kendall): five of those of the mean would be no chance.
    assert np.mean(correlations) > 5 / ((told - 1) * readers) ** 0.5
    # When any is left out the others count for more, which moves all alike. Beside that the sizes
    # are of one order: so small a model tells its readers apart so well that each book adds less.
    assert 0.25 < np.sum(np.multiply(said, seen)) / np.sum(np.square(said)) < 2
