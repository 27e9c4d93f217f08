"""What a call is told before anything of it is read, over a real socket."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from deepmoviematch.server.errors import RateError, UnknownCallerError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.serving import Serving
from deepmoviematch.server.host import door as door_module, pool as pool_module, privates, refusal
from deepmoviematch.server.host.refusal import Refusals
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.rpc.service import RecommenderService
from deepmoviematch.server.telemetry.request_ids import HEADER
from deepmoviematch.v1 import recommender_pb2 as pb

Outcome: TypeAlias = Callable[..., SimpleNamespace]

WAIT_S = 10


class Held:
    """Stands in for `Current`: every call waits until `go_on`."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender, self.go_on, self.begun = recommender, threading.Event(), threading.Semaphore(0)

    @property
    def serving(self) -> Serving:
        self.begun.release()
        self.go_on.wait(WAIT_S)
        return Serving(self.recommender)


class Limited:
    """Stands in for `Keys`: no call is left, for as long as each of `waits_s` says."""

    def __init__(self, waits_s: list[float]) -> None:
        self.waits_s = iter(waits_s)

    def check(self, _metadata: object) -> None:
        raise RateError(0.05, 1, next(self.waits_s))


def test_too_many_calls_are_refused_at_once_and_told_when_to_come_back(
    serve: Callable[..., Any],
    outcome: Outcome,
    recommender: Recommender,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "MOST_WAITING", 20)
    for limit in ("PATIENCE_S", "BURST_S", "LONGEST_S"):
        monkeypatch.setattr(pool_module, limit, WAIT_S)
    held = Held(recommender)
    with serve(held, threads=1) as running:
        calls = [running.stub.Recommend.future(pb.RecommendRequest())]
        assert held.begun.acquire(timeout=WAIT_S)
        calls += [running.stub.Recommend.future(pb.RecommendRequest()) for _ in range(59)]
        while sum(call.done() for call in calls) < 39:  # one runs, twenty wait
            pass
        ended = outcome(running.stub.SimilarItems, pb.SimilarItemsRequest(item_id="6"))
        held.go_on.set()
        codes = [call.exception(WAIT_S) and call.code().name for call in calls]
        assert running.stub.Recommend(pb.RecommendRequest()).results
    assert (codes.count(None), codes.count("RESOURCE_EXHAUSTED")) == (21, 39)
    assert ended.code == "RESOURCE_EXHAUSTED"
    retry, info = error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(retry) for detail in ended.status.details)
    assert any(detail.Unpack(info) for detail in ended.status.details)
    assert retry.retry_delay.seconds > 0
    assert info.reason == "OVERLOADED"


def test_batches_that_wait_keep_nobody_else_from_being_answered(
    serve: Callable[..., Any],
    outcome: Outcome,
    recommender: Recommender,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on, answer = threading.Event(), threading.Event(), RecommenderService.BatchRecommend

    def held(self: RecommenderService, *question: Any) -> Any:
        begun.set()
        go_on.wait(WAIT_S)
        return answer(self, *question)

    def wait_at_most(seconds: float) -> None:
        for limit in ("PATIENCE_S", "BURST_S", "LONGEST_S"):
            monkeypatch.setattr(pool_module, limit, seconds)

    monkeypatch.setattr(RecommenderService, "BatchRecommend", held)
    wait_at_most(WAIT_S)
    current = Current()
    current.set(recommender)
    batch = pb.BatchRecommendRequest(requests=[pb.RecommendRequest()])
    with serve(current, threads=2) as running:
        stub = running.stub
        batches = [stub.BatchRecommend.future(batch) for _ in range(20)]
        assert begun.wait(WAIT_S)
        while running.wiring.pool.waiting < 19:  # one runs
            pass
        wait_at_most(0.0)
        outcomes = [
            outcome(stub.Recommend, pb.RecommendRequest()),
            outcome(stub.Recommend, pb.RecommendRequest(novelty=0.5)),
            outcome(stub.FindItems, pb.FindItemsRequest(title="heat")),
            outcome(stub.BatchRecommend, batch),
        ]
        go_on.set()
        assert None in [each.exception(WAIT_S) for each in batches]  # the one that ran
    assert [each.code for each in outcomes] == ["OK", "OK", "OK", "RESOURCE_EXHAUSTED"]


@pytest.mark.parametrize("supported", [True, False], ids=["ours", "gRPC's own way"])
def test_a_refusal_does_not_wait_for_the_request(
    serve: Callable[..., Any], recommender: Recommender, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    monkeypatch.setattr(privates, "SUPPORTED", supported)
    monkeypatch.setattr(pool_module.Pool, "crowded", lambda self, handler: True)
    with serve(Held(recommender)) as running:
        call = running.channel.stream_unary(
            "/deepmoviematch.v1.RecommenderService/Recommend", request_serializer=lambda contents: contents
        )
        never = threading.Event()
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(never.wait, None), timeout=WAIT_S)
    ended: Any = caught.value
    assert ended.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "more calls come than can be answered in time" in ended.details()
    assert rpc_status.from_call(ended).details


def test_once_closed_it_sends_callers_elsewhere(
    serve: Callable[..., Any], outcome: Outcome, recommender: Recommender
) -> None:
    held = Held(recommender)
    with serve(held) as running:
        begun = running.stub.Recommend.future(pb.RecommendRequest())
        assert held.begun.acquire(timeout=WAIT_S)
        running.wiring.door.close()
        ended = outcome(running.stub.Recommend, pb.RecommendRequest())
        held.go_on.set()
        assert len(begun.result(WAIT_S).results) == 10
    assert ended.code == "UNAVAILABLE"
    assert "the server is stopping" in ended.status.message


def test_a_refusal_is_made_once_for_each_time_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waits_s = [2.0, 9.5, 9.9, 2.0, 30.0, 2.0]
    monkeypatch.setattr(door_module, "MOST_REFUSALS", 2)
    pool: Any = SimpleNamespace(refusals=Refusals())
    keys: Any = Limited(waits_s)
    call: Any = SimpleNamespace(method="/method", invocation_metadata=())
    door = door_module.Door({"/method": pool}, pool, keys)
    made = [door.service(call) for _ in waits_s]
    assert made[1] is made[2]
    assert made[0] is made[3]
    assert len({*made}) == 4  # two were kept, so the oldest was made again
    assert door.refused["RATE_LIMITED"] == len(waits_s)


def test_refusals_of_all_kinds_are_logged_once_in_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals()
    for error in (RateError, UnknownCallerError, RateError):
        refusals.count(error)
    monkeypatch.setattr(refusal, "REPORT_S", 0.0)
    refusals.count(RateError)
    assert [vars(record)["facts"]["in_all"] for record in caplog.records] == [
        {"RATE_LIMITED": 1},
        {"RATE_LIMITED": 3, "API_KEY_INVALID": 1},
    ]


@pytest.mark.parametrize("supported", [True, False], ids=["ours", "gRPC's own way"])
def test_a_refusal_keeps_the_name_that_its_caller_gave_the_call(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    monkeypatch.setattr(privates, "SUPPORTED", supported)
    keys: Any = Limited([2.0] * 3)
    with serve(Current(), keys=keys) as running:
        names = []
        for sent in ([], [(HEADER, "order-7")], [(HEADER, "order-8")]):
            with pytest.raises(grpc.RpcError) as caught:
                running.stub.Recommend(pb.RecommendRequest(), metadata=sent)
            ended: Any = caught.value
            assert ended.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert rpc_status.from_call(ended).details
            names.append(dict(ended.trailing_metadata()).get(HEADER))
    assert names == [None, "order-7", "order-8"]


def test_what_is_no_method_is_unimplemented(running: SimpleNamespace) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        running.channel.unary_unary("/deepmoviematch.v1.RecommenderService/Other")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
