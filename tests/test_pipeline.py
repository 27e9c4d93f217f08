"""Training, export, index and server agree: the same users get the same ranking at the wire."""

from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from deepmoviematch.data.tables import Catalogue, Dataset, Ratings
from deepmoviematch.indexer.build import build
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.current import Current
from deepmoviematch.server.process import create_server
from deepmoviematch.server.recommender import Recommender
from deepmoviematch.trainer.quiet import import_tensorflow
from deepmoviematch.v1 import recommender_pb2 as pb, recommender_pb2_grpc as rpc

import_tensorflow()

from deepmoviematch.trainer.fit import fit_retrieval  # noqa: E402
from deepmoviematch.trainer.metrics import RankingMeter  # noqa: E402
from deepmoviematch.trainer.peers import popularity  # noqa: E402
from deepmoviematch.trainer.protocols import Trial, new_users, time_cut  # noqa: E402
from deepmoviematch.trainer.ranking import rank  # noqa: E402
from deepmoviematch.trainer.recipe import RetrievalRecipe  # noqa: E402
from deepmoviematch.trainer.retrieval import TwoTowers  # noqa: E402
from deepmoviematch.trainer.run import write_run  # noqa: E402

ITEMS, USERS, EACH = 150, 80, 20
RECIPE = RetrievalRecipe(
    name="tiny",
    embedding_dim=8,
    hidden=(16,),
    epochs=3,
    batch_size=16,
    ease_penalty=5.0,
    validation_share=0.0,
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
def towers(dataset: Dataset) -> TwoTowers:
    return fit_retrieval(dataset.catalogue, dataset.ratings, RECIPE).towers


@pytest.fixture(scope="module")
def stub(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rpc.RecommenderServiceStub]:
    folder = tmp_path_factory.mktemp("pipeline")
    fitted = fit_retrieval(dataset.catalogue, dataset.ratings, RECIPE)
    write_run(folder / "run", fitted=fitted, recipe=RECIPE, dataset=dataset, digest=dataset.digest)
    current = Current()
    current.set(Recommender(build(folder / "run", Store(folder / "store"))))
    wiring = create_server(current)
    wiring.server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{wiring.port}") as channel:
            yield rpc.RecommenderServiceStub(channel)
    finally:
        wiring.health.end()
        wiring.server.stop(None).wait()


@pytest.mark.parametrize("make", [new_users, time_cut], ids=["taste", "what comes next"])
def test_the_wire_gives_the_metrics_that_training_measured(
    make: type[Trial], dataset: Dataset, towers: TwoTowers, stub: rpc.RecommenderServiceStub
) -> None:
    trial: Trial = make(dataset.catalogue, dataset.ratings, 1)  # type: ignore[arg-type, call-arg]
    meter = RankingMeter(dataset.catalogue.genres, popularity(trial.train, ITEMS))
    for user in range(len(trial.users)):
        answer = stub.Recommend(request_of(trial, user, dataset))
        scores = np.full((1, ITEMS), -np.inf, dtype=np.float32)
        for item in answer.results:
            scores[0, dataset.catalogue.row_of[item.item_id]] = -item.rank
        targets = np.zeros((1, ITEMS), dtype=np.bool_)
        targets[0, trial.target_items[trial.target_users == user]] = True
        meter.add(scores, targets)
    offline = rank(towers, trial, dataset.catalogue).per_user
    for metric in ("ndcg@100", "ndcg@10", "recall@20", "recall@50", "hit@10"):
        assert meter.report().per_user[metric] == pytest.approx(offline[metric], abs=1e-6)


def request_of(trial: Trial, user: int, dataset: Dataset) -> pb.RecommendRequest:
    """What a caller would send: ids, and ratings in the data's own units."""
    known = trial.users.slice(user, user + 1)
    history = [
        pb.Interaction(item_id=dataset.catalogue.item_ids[item], rating=2 * stars)
        for item, stars in zip(known.items, known.stars, strict=True)
    ]
    return pb.RecommendRequest(
        user=pb.UserFeatures(history=history),
        page_size=100,
        intent=pb.INTENT_NEXT if known.asks_next[0] else pb.INTENT_TASTE,
    )
