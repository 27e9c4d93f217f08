"""Whoever watches is told, and holds up nobody."""

import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deepmoviematch.server.generations.serving import Serving
from deepmoviematch.server.host import pool
from deepmoviematch.server.host.health import NOT_SERVING, SERVICE_UNKNOWN, SERVING, Health
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.v1 import recommender_pb2 as pb

WAIT_S = 10


class Context:
    """A call that lasts until `leave`."""

    def __init__(self) -> None:
        self.callbacks: list[Any] = []

    def add_callback(self, callback: Any) -> bool:
        self.callbacks.append(callback)
        return True

    def leave(self) -> None:
        for callback in self.callbacks:
            callback()


def watch(health: Health, send: Any, service: str = "") -> Context:
    context: Any = Context()
    health.Watch(health_pb2.HealthCheckRequest(service=service), context, send)
    return context  # type: ignore[no-any-return]


def told(queue: "SimpleQueue[Any]") -> Any:
    response = queue.get(timeout=WAIT_S)
    return None if response is None else response.status


@pytest.fixture
def stuck() -> Iterator[SimpleNamespace]:
    """A `send` that takes nothing until the test is over."""
    begun, over = threading.Event(), threading.Event()

    def send(_response: Any) -> None:
        begun.set()
        over.wait(WAIT_S)

    yield SimpleNamespace(begun=begun, send=send)
    over.set()


def test_a_watcher_is_told_of_every_change_and_of_the_end() -> None:
    health, queue = Health(), SimpleQueue[Any]()
    watch(health, queue.put)
    assert told(queue) == NOT_SERVING
    health.serve()
    assert told(queue) == SERVING
    health.end()
    assert [told(queue), told(queue)] == [NOT_SERVING, None]
    health.serve()
    assert queue.empty()


def test_a_watcher_is_not_told_the_same_twice() -> None:
    health, queue = Health(), SimpleQueue[Any]()
    health.serve()
    watch(health, queue.put)
    assert told(queue) == SERVING
    health.serve()
    health.end()
    assert told(queue) == NOT_SERVING


def test_a_service_that_is_not_there_is_unknown_for_ever() -> None:
    health, queue = Health(), SimpleQueue[Any]()
    watch(health, queue.put, "other")
    assert told(queue) == SERVICE_UNKNOWN
    health.serve()
    health.end()
    assert told(queue) is None


def test_a_watcher_that_takes_nothing_holds_up_nobody(stuck: SimpleNamespace) -> None:
    health, queue = Health(), SimpleQueue[Any]()
    watch(health, stuck.send)
    assert stuck.begun.wait(WAIT_S)
    watch(health, queue.put)
    assert told(queue) == NOT_SERVING
    health.serve()
    assert told(queue) == SERVING
    health.end()
    assert [told(queue), told(queue)] == [NOT_SERVING, None]


def test_a_watcher_may_leave_while_others_are_told(stuck: SimpleNamespace) -> None:
    health, queue = Health(), SimpleQueue[Any]()
    context = watch(health, stuck.send)
    assert stuck.begun.wait(WAIT_S)
    context.leave()
    watch(health, queue.put)
    health.serve()
    while told(queue) != SERVING:
        pass


def test_who_watches_after_the_end_is_told_at_once() -> None:
    health, queue = Health(), SimpleQueue[Any]()
    health.end()
    watch(health, queue.put)
    assert [told(queue), told(queue)] == [NOT_SERVING, None]


class Flooded(Health):
    """Stands in for `Current` too: holds answers until `go_on`, and those after until health is asked for."""

    def __init__(self, recommender: Recommender) -> None:
        super().__init__()
        self.recommender, self.asked, self.in_time = recommender, 0, False
        self.begun, self.go_on, self.checked = threading.Event(), threading.Event(), threading.Event()

    @property
    def serving(self) -> Serving:
        self.asked += 1
        if self.asked == 2:  # the first makes known what is cheap
            self.begun.set()
            self.go_on.wait(WAIT_S)
        elif self.asked == 3:
            self.in_time = self.checked.wait(WAIT_S)
        return Serving(self.recommender)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.checked.set()
        return super().Check(request, context)


def test_whoever_asks_how_it_goes_waits_behind_no_flood(
    serve: Callable[..., Any], recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("PATIENCE_S", "BURST_S"):  # however slow the machine, nobody is refused
        monkeypatch.setattr(pool, limit, 3 * WAIT_S)
    flooded = Flooded(recommender)
    with serve(flooded, health=flooded, threads=1) as server:
        server.stub.Recommend(pb.RecommendRequest(), timeout=WAIT_S)
        calls = [server.stub.Recommend.future(pb.RecommendRequest(), timeout=2 * WAIT_S)]
        assert flooded.begun.wait(WAIT_S)
        calls += [server.stub.Recommend.future(pb.RecommendRequest(), timeout=2 * WAIT_S) for _ in range(100)]
        time.sleep(0.2)  # until they have reached the server
        stub: Any = health_pb2_grpc.HealthStub(server.channel)
        check = stub.Check.future(health_pb2.HealthCheckRequest(), timeout=2 * WAIT_S)
        time.sleep(0.1)
        flooded.go_on.set()
        assert check.result().status == NOT_SERVING
        assert all(call.exception() is None for call in calls)
    assert flooded.in_time
