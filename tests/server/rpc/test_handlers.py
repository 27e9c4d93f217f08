"""What becomes of bugs and of calls that come too late."""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, TypeAlias

import grpc
import pytest

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.serving import Serving
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.v1 import recommender_pb2 as pb

Outcome: TypeAlias = Callable[..., SimpleNamespace]


class Failing:
    """Stands in for `Current`: every request meets the error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    @property
    def serving(self) -> Serving:
        raise self.error


@pytest.mark.parametrize(
    "bug", [KeyError("a secret"), MovieMatchError("a secret")], ids=["a bug", "an error without a code"]
)
def test_a_bug_is_logged_and_not_leaked(
    serve: Callable[..., Any], outcome: Outcome, caplog: pytest.LogCaptureFixture, bug: Exception
) -> None:
    with serve(Failing(bug)) as running:
        ended = outcome(running.stub.Recommend, pb.RecommendRequest())
    assert (ended.code, ended.status.message) == ("INTERNAL", "internal error")
    assert b"secret" not in ended.status.SerializeToString()
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[1] is bug


def test_a_bug_in_an_observer_changes_no_answer(
    serve: Callable[..., Any],
    outcome: Outcome,
    recommender: Recommender,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def observe(*_: object) -> None:
        raise RuntimeError("a secret")

    current = Current()
    current.set(recommender)
    with serve(current, observe=observe) as running:
        together = outcome(running.stub.Recommend, pb.RecommendRequest(page_size=3))
        alone = outcome(running.stub.FindItems, pb.FindItemsRequest(title="heat"))
        failed = outcome(running.stub.Recommend, pb.RecommendRequest(page_size=-1))
    assert [len(each.response.results) for each in (together, alone)] == [3, 2]
    assert failed.code == "INVALID_ARGUMENT"
    assert b"secret" not in failed.status.SerializeToString()
    bugs = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.message for record in bugs] == ["a bug in taking down a call"] * 3


def test_a_request_whose_deadline_has_passed_does_no_work(
    serve: Callable[..., Any], recommender: Recommender
) -> None:
    begun, go_on, asked = threading.Event(), threading.Event(), []

    class Slow:
        @property
        def serving(self) -> Serving:
            asked.append(threading.current_thread().name)
            begun.set()
            go_on.wait(10)
            return Serving(recommender)

    with serve(Slow(), threads=1) as running:
        first = running.stub.Recommend.future(pb.RecommendRequest())
        begun.wait(10)
        with pytest.raises(grpc.RpcError) as caught:  # waits behind the first for longer than it has
            running.stub.Recommend(pb.RecommendRequest(), timeout=0.05)
        go_on.set()
        first.result(10)
        running.stub.Recommend(pb.RecommendRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(asked) == 2


def test_a_call_that_its_caller_took_back_does_no_work_and_is_taken_down_as_cancelled(
    serve: Callable[..., Any],
) -> None:
    begun, go_on, cancelled = threading.Event(), threading.Event(), threading.Event()
    codes = SimpleQueue[str]()

    def hold() -> None:
        begun.set()
        go_on.wait(10)

    with serve(Current(), threads=1, observe=lambda _, code, *__: codes.put(code)) as running:
        running.wiring.pool.submit(hold)  # the only thread
        assert begun.wait(10)
        call = running.stub.Recommend.future(pb.RecommendRequest(page_size=200))
        while not running.wiring.pool.waiting:
            pass
        own = vars(running.wiring.server)["_state"].rpc_states
        [state] = own
        state.callbacks.append(cancelled.set)
        call.cancel()
        assert cancelled.wait(10)
        go_on.set()
        assert codes.get(timeout=10) == "CANCELLED"
