"""Users of an experiment, over a real socket."""

import gc
import json
import logging
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepmoviematch.indexer.experiments import CURRENT, Experiment, Variant
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.follower import Follower
from deepmoviematch.server.rpc import service
from deepmoviematch.server.rpc.service import RecommenderService
from deepmoviematch.server.rpc.tokens import Tokens
from deepmoviematch.v1 import recommender_pb2 as pb
from tests.server.rpc.messages import fields, ids, seen

USERS = [f"user {number}" for number in range(20)]


@pytest.fixture
def trying(tmp_path: Path, publish: Callable[..., Generation], serve: Callable[..., Any]) -> Iterator[Any]:
    """A server that keeps replies, over a store with an experiment between its two generations."""
    older, newer = (publish(tmp_path, seed=seed) for seed in (1, 2))
    store, current = Store(tmp_path), Current(tmp_path)
    experiment = Experiment("newer", (Variant("control", older.id), Variant("treatment", CURRENT)))
    store.begin_experiment(experiment)
    follower = Follower(tmp_path, current, on_ready=lambda: None)
    follower.poll()
    assert current.generation_id == newer.id
    with serve(current, kept_replies=100) as running:
        running.wiring.health.serve()
        yield SimpleNamespace(
            stub=running.stub,
            current=current,
            store=store,
            follower=follower,
            experiment=experiment,
            older=older,
            newer=newer,
        )


def asking(user_id: str, experiment: str = "newer", **fields: Any) -> pb.RecommendRequest:
    request = seen("6", "50", experiment=experiment, **fields)
    request.user.user_id = user_id
    return request


def generation_of(trying: SimpleNamespace, user_id: str) -> str:
    variant = trying.experiment.variant_of(user_id)
    return str(trying.newer.id if variant.generation == CURRENT else variant.generation)


def user_of(trying: SimpleNamespace, variant: str) -> str:
    return next(user for user in USERS if trying.experiment.variant_of(user).name == variant)


def test_each_user_gets_the_generation_of_the_variant_and_is_told_which(trying: SimpleNamespace) -> None:
    for user in USERS:
        metadata = trying.stub.Recommend(asking(user)).metadata
        assert metadata.variant == trying.experiment.variant_of(user).name
        assert metadata.generation_id == generation_of(trying, user)


def test_a_variant_answers_as_its_generation_does_alone(trying: SimpleNamespace, tmp_path: Path) -> None:
    user = user_of(trying, "control")
    tried = trying.stub.Recommend(asking(user, page_size=1000))
    trying.store.rollback()
    trying.follower.poll()
    plain = trying.stub.Recommend(seen("6", "50", page_size=1000))
    assert plain.metadata.generation_id == trying.older.id
    assert tried.results == plain.results


def test_who_names_no_experiment_or_one_that_does_not_run_gets_the_current_generation(
    trying: SimpleNamespace,
) -> None:
    user = user_of(trying, "control")
    for name in ("", "unknown"):
        metadata = trying.stub.Recommend(asking(user, name)).metadata
        assert (metadata.variant, metadata.generation_id) == ("", trying.newer.id)


def test_the_same_bytes_get_another_answer_once_the_experiment_has_ended(trying: SimpleNamespace) -> None:
    for user in (user_of(trying, "control"), user_of(trying, "treatment")):
        assert trying.stub.Recommend(asking(user)).metadata.variant
        assert trying.stub.Recommend(asking(user)).metadata.variant
    trying.store.end_experiment("newer")
    trying.follower.poll()
    for user in USERS:
        metadata = trying.stub.Recommend(asking(user)).metadata
        assert (metadata.variant, metadata.generation_id) == ("", trying.newer.id)


def test_the_same_bytes_get_another_answer_once_the_experiment_begins(trying: SimpleNamespace) -> None:
    requests = [asking(user, "later") for user in USERS[:3]]
    batch = pb.BatchRecommendRequest(requests=requests)
    for request in requests:
        assert not trying.stub.Recommend(request).metadata.variant
    assert not trying.stub.BatchRecommend(batch).responses[0].metadata.variant
    trying.store.begin_experiment(Experiment("later", (Variant("only", trying.older.id),)))
    trying.follower.poll()
    for request in requests:
        assert trying.stub.Recommend(request).metadata.variant == "only"
    assert {each.metadata.variant for each in trying.stub.BatchRecommend(batch).responses} == {"only"}
    trying.store.end_experiment("later")
    trying.follower.poll()
    assert {each.metadata.variant for each in trying.stub.BatchRecommend(batch).responses} == {""}


def test_what_has_ended_is_let_go(
    trying: SimpleNamespace, tmp_path: Path, publish: Callable[..., Any]
) -> None:
    trying.stub.Recommend(asking(user_of(trying, "control")))
    alive = weakref.ref(trying.current.serving.held[trying.older.id])
    trying.store.end_experiment("newer")
    for seed in (3, 4, 5):
        trying.follower.poll()
        publish(tmp_path, seed=seed)
        trying.stub.Recommend(asking("somebody"))
    trying.follower.poll()
    trying.stub.Recommend(asking("somebody"))
    gc.collect()
    assert alive() is None


def test_later_pages_name_no_variant_that_they_are_not_of(trying: SimpleNamespace) -> None:
    user = user_of(trying, "control")
    request = asking(user, page_size=3)
    request.page_token = trying.stub.Recommend(request).next_page_token
    assert trying.stub.Recommend(request).metadata.variant == "control"
    moved = Experiment("newer", (Variant("treatment", CURRENT),))
    trying.store.begin_experiment(moved)
    trying.follower.poll()
    metadata = trying.stub.Recommend(request).metadata
    assert (metadata.variant, metadata.generation_id) == ("", trying.older.id)


def test_a_change_amid_a_batch_is_for_the_next_one(
    trying: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, asked = user_of(trying, "control"), []

    def change(request: Any) -> str:
        asked.append(request)
        if len(asked) == 2:
            trying.store.end_experiment("newer")
            trying.follower.poll()
        return str(request.experiment)

    monkeypatch.setattr(service, "_experiment_of", change)
    batch = pb.BatchRecommendRequest(requests=[asking(user)] * 4)
    found = {each.metadata.generation_id for each in trying.stub.BatchRecommend(batch).responses}
    assert found == {trying.older.id}


def test_what_fails_in_a_batch_says_which_variant_failed(trying: SimpleNamespace) -> None:
    request = asking(user_of(trying, "control"), page_size=-1)
    [response] = trying.stub.BatchRecommend(pb.BatchRecommendRequest(requests=[request])).responses
    assert response.status.code
    assert response.metadata == pb.ResponseMetadata(variant="control", generation_id=trying.older.id)


def test_what_fails_in_a_batch_does_not_count_as_answered(
    trying: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    user = user_of(trying, "control")
    refused, answered = asking(user, page_size=-1), asking(user)
    trying.stub.BatchRecommend(pb.BatchRecommendRequest(requests=[refused, answered]))
    [facts] = [vars(record)["facts"] for record in caplog.records if record.getMessage() == "request"]
    assert facts["experiments"] == [{"request": 1, "experiment": "newer", "variant": "control"}]


def test_what_is_soon_answered_is_judged_by_the_variant(
    trying: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = RecommenderService(trying.current, Tokens())
    control, treatment = (
        asking(user_of(trying, name)).SerializeToString() for name in ("control", "treatment")
    )
    assert None not in asked.ask_many("Recommend", [control, treatment])
    trying.current.serving.held[trying.older.id].is_cheap = False
    first, second = asked.ask_many("Recommend", [control, treatment])
    assert first is None
    assert second is not None


def test_control_follows_what_is_current_and_the_other_stays(
    trying: SimpleNamespace, tmp_path: Path, publish: Callable[..., Generation]
) -> None:
    trying.stub.Recommend(asking(user_of(trying, "treatment")))
    third = publish(tmp_path, seed=3)
    trying.follower.poll()
    for variant, generation in (("treatment", third.id), ("control", trying.older.id)):
        metadata = trying.stub.Recommend(asking(user_of(trying, variant))).metadata
        assert (metadata.variant, metadata.generation_id) == (variant, generation)


@pytest.mark.parametrize("variant", ["control", "treatment"])
def test_pages_of_a_variant_never_repeat_or_skip_an_item(trying: SimpleNamespace, variant: str) -> None:
    request = asking(user_of(trying, variant), page_size=1000)
    whole = trying.stub.Recommend(request)
    request.page_size, found = 7, []
    while True:
        page = trying.stub.Recommend(request)
        assert page.metadata.variant == variant
        found += ids(page)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == ids(whole)


def test_an_experiment_needs_a_user(trying: SimpleNamespace, outcome: Callable[..., SimpleNamespace]) -> None:
    ended = outcome(trying.stub.Recommend, asking(""))
    assert ended.code == "INVALID_ARGUMENT"
    assert fields(ended.status) == ["user.user_id"]
    ended = outcome(trying.stub.Recommend, asking("somebody", "x" * 65))
    assert fields(ended.status) == ["experiment"]


def test_each_request_of_a_batch_is_answered_by_its_own_variant(trying: SimpleNamespace) -> None:
    requests = [asking(user) for user in USERS] + [seen("6", "50"), asking("")]
    *tried, plain, refused = trying.stub.BatchRecommend(pb.BatchRecommendRequest(requests=requests)).responses
    assert tried == [trying.stub.Recommend(request) for request in requests[:-2]]
    assert (plain.metadata.variant, plain.metadata.generation_id) == ("", trying.newer.id)
    assert refused.status.code


def test_a_plan_says_which_variant_would_answer(trying: SimpleNamespace) -> None:
    user = user_of(trying, "control")
    response = trying.stub.Recommend(asking(user, validate_only=True))
    assert response.HasField("plan")
    assert (response.metadata.variant, response.metadata.generation_id) == ("control", trying.older.id)


def test_the_log_says_which_variant_answered(
    trying: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trying.stub.Recommend(asking(user_of(trying, "control")))
    [facts] = [vars(record)["facts"] for record in caplog.records if record.getMessage() == "request"]
    assert facts["experiments"] == [{"request": 0, "experiment": "newer", "variant": "control"}]
    assert json.dumps(facts)
