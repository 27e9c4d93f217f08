"""Whoever watches is told, and holds up nobody."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.serving import Serving
from deepmoviematch.server.host import pool, privates
from deepmoviematch.server.host.health import NOT_SERVING, SERVICE_UNKNOWN, SERVING, Health
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.v1 import recommender_pb2 as pb

WAIT_S = 10
STUCK = 20
"""Watchers that take nothing: more than there are threads of any kind."""


@pytest.fixture(params=[True, False], ids=["ours", "gRPC's own way"])
def asked(
    request: pytest.FixtureRequest, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimpleNamespace]:
    """A server whose `health` may be asked for; `watch(service="")` begins to."""
    monkeypatch.setattr(privates, "SUPPORTED", request.param)
    health = Health()
    with serve(Current(), health=health) as server:
        stub: Any = health_pb2_grpc.HealthStub(server.channel)

        def watch(service: str = "") -> Any:
            return stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=2 * WAIT_S)

        yield SimpleNamespace(health=health, watch=watch, stub=stub, port=server.wiring.port)


def told(stream: Any) -> int:
    return next(stream).status  # type: ignore[no-any-return]


def is_over(stream: Any) -> bool:
    return next(stream, None) is None


def check_a_watcher_is_told_everything(asked: SimpleNamespace) -> None:
    stream = asked.watch()
    assert told(stream) == NOT_SERVING
    asked.health.serve()
    assert told(stream) == SERVING
    asked.health.end()
    assert told(stream) == NOT_SERVING
    assert is_over(stream)


@contextmanager
def takers_of_nothing(port: int, count: int) -> Iterator[None]:
    """So many watchers over one connection, whose windows (RFC 9113, 6.9) have no room for a message."""
    path, headers, data, settings, initial_window = b"/grpc.health.v1.Health/Watch", 1, 0, 4, 4

    def frame(kind: int, flags: int, stream: int, contents: bytes) -> bytes:
        return struct.pack(">I", len(contents))[1:] + struct.pack(">BBI", kind, flags, stream) + contents

    def text(value: bytes) -> bytes:
        return bytes([len(value)]) + value

    block = b"\x83\x86\x04" + text(path) + b"\x01" + text(b"x")  # POST, http, path, authority
    block += b"\0" + text(b"content-type") + text(b"application/grpc")
    block += b"\0" + text(b"te") + text(b"trailers")
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        caller.sendall(frame(settings, 0, 0, struct.pack(">HI", initial_window, 0)))
        for number in range(count):
            stream = 1 + 2 * number
            caller.sendall(frame(headers, 4, stream, block) + frame(data, 1, stream, bytes(5)))
        yield


def test_a_watcher_is_told_of_every_change_and_of_the_end(asked: SimpleNamespace) -> None:
    check_a_watcher_is_told_everything(asked)


def test_a_watcher_is_not_told_the_same_twice(asked: SimpleNamespace) -> None:
    asked.health.serve()
    stream = asked.watch()
    assert told(stream) == SERVING
    asked.health.serve()
    asked.health.end()
    assert told(stream) == NOT_SERVING


def test_after_the_end_nothing_is_served_again(asked: SimpleNamespace) -> None:
    asked.health.end()
    asked.health.serve()
    stream = asked.watch()
    assert told(stream) == NOT_SERVING
    assert is_over(stream)


def test_a_service_that_is_not_there_is_unknown_for_ever(asked: SimpleNamespace) -> None:
    stream = asked.watch("other")
    assert told(stream) == SERVICE_UNKNOWN
    asked.health.serve()
    asked.health.end()
    assert is_over(stream)


def test_watchers_that_take_nothing_hold_up_nobody(asked: SimpleNamespace) -> None:
    with takers_of_nothing(asked.port, STUCK):
        while len(asked.health._watchers) < STUCK:
            time.sleep(0.001)
        check_a_watcher_is_told_everything(asked)


def test_a_watcher_that_leaves_is_forgotten_and_the_others_are_told(asked: SimpleNamespace) -> None:
    left, stream = asked.watch(), asked.watch()
    assert [told(left), told(stream)] == [NOT_SERVING] * 2
    left.cancel()
    while len(asked.health._watchers) > 1:
        time.sleep(0.001)
    asked.health.serve()
    assert told(stream) == SERVING


def test_a_watcher_that_has_left_already_is_forgotten_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privates, "SUPPORTED", False)
    health = Health()
    gone: Any = SimpleNamespace(add_callback=lambda _: False)
    health.Watch(health_pb2.HealthCheckRequest(), gone, lambda _: None)
    assert not health._watchers


@pytest.mark.parametrize("asked", [True], indirect=True)
def test_callers_who_send_half_a_call_keep_nobody_out(
    asked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MOST_WAITING", 3)
    with grpc.insecure_channel(f"127.0.0.1:{asked.port}") as channel:
        check: Any = channel.stream_unary("/grpc.health.v1.Health/Check")
        never = threading.Event()
        halves = [check.future(iter(never.wait, None), timeout=2 * WAIT_S) for _ in range(5)]

        def ended(count: int) -> set[grpc.StatusCode]:
            while sum(half.done() for half in halves) < count:
                time.sleep(0.001)
            return {half.code() for half in halves if half.done()}

        assert ended(2) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        for _ in range(3):
            answer = asked.stub.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S)
            assert answer.status == NOT_SERVING
        assert ended(3) == {grpc.StatusCode.RESOURCE_EXHAUSTED}  # the first check was in want of room
        assert sum(half.done() for half in halves) == 3
        for half in halves:
            half.cancel()


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
    for limit in ("PATIENCE_S", "BURST_S", "LONGEST_S"):  # however slow the machine, nobody is refused
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


class Slow(Current):
    """Has nothing to answer with, and takes until `go_on` to say so."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    @property
    def serving(self) -> Serving:
        self.begun.set()
        self.go_on.wait(WAIT_S)
        return super().serving


def test_whoever_asks_how_it_goes_waits_for_no_thread(serve: Callable[..., Any]) -> None:
    slow = Slow()
    with serve(slow, threads=1) as server:
        calls = [server.stub.Recommend.future(pb.RecommendRequest(), timeout=2 * WAIT_S) for _ in range(3)]
        assert slow.begun.wait(WAIT_S)
        stub: Any = health_pb2_grpc.HealthStub(server.channel)
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S).status == NOT_SERVING
        assert told(stub.Watch(health_pb2.HealthCheckRequest(), timeout=WAIT_S)) == NOT_SERVING
        assert not slow.go_on.is_set()
        slow.go_on.set()
        assert {call.code() for call in calls} == {grpc.StatusCode.UNAVAILABLE}
