"""Calls over a real socket to one thread: who holds it, and who does not."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from deepmoviematch.server.host import arrival
from deepmoviematch.server.host.pool import TOGETHER, Pool

WAIT_S = 10


@pytest.fixture(params=[True, False], ids=["ours", "gRPC's own way"])
def echo(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A server with one thread that answers with the request, and counts."""
    monkeypatch.setattr(arrival, "SUPPORTED", request.param)
    answered: list[bytes] = []

    def answer(message: bytes, context: grpc.ServicerContext) -> bytes:
        answered.append(message)
        return message

    def stream(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"".join(messages)

    pool: Any = Pool(1)
    server = grpc.server(pool)
    handlers: Any = {
        "Unary": grpc.unary_unary_rpc_method_handler(answer),
        "Stream": grpc.stream_unary_rpc_method_handler(stream),
    }
    server.add_registered_method_handlers("test.Echo", handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield SimpleNamespace(channel=channel, answered=answered)
    server.stop(None).wait()
    pool.shutdown()


def begin(echo: SimpleNamespace) -> Any:
    """Begin a call of the unary method; `put` its message, or None to send none."""
    messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    call: Any = echo.channel.stream_unary("/test.Echo/Unary").future(iter(messages.get, None), timeout=WAIT_S)
    call.put = messages.put
    return call


def test_the_installed_grpc_has_what_it_takes() -> None:
    assert arrival.SUPPORTED


def test_a_call_is_answered(echo: SimpleNamespace) -> None:
    ask = echo.channel.unary_unary("/test.Echo/Unary")
    assert [ask(message, timeout=WAIT_S) for message in (b"", b"a", b"b" * 100_000)] == [
        b"",
        b"a",
        b"b" * 100_000,
    ]


def test_many_calls_at_once_are_answered_each_with_its_own(echo: SimpleNamespace) -> None:
    ask = echo.channel.unary_unary("/test.Echo/Unary")
    calls = [ask.future(str(number).encode(), timeout=WAIT_S) for number in range(300)]
    assert [call.result() for call in calls] == [str(number).encode() for number in range(300)]


def test_a_stream_of_requests_goes_its_own_way(echo: SimpleNamespace) -> None:
    join = echo.channel.stream_unary("/test.Echo/Stream")
    assert join(iter([b"a", b"b"]), timeout=WAIT_S) == b"ab"


def test_a_call_without_a_message_is_refused(echo: SimpleNamespace) -> None:
    call = begin(echo)
    call.put(None)
    assert call.code() is grpc.StatusCode.UNIMPLEMENTED
    assert echo.answered == []


@pytest.mark.parametrize("echo", [True], indirect=True)
def test_callers_who_send_nothing_hold_no_thread(echo: SimpleNamespace) -> None:
    silent = [begin(echo) for _ in range(5)]
    assert echo.channel.unary_unary("/test.Echo/Unary")(b"a", timeout=WAIT_S) == b"a"
    for number, call in enumerate(silent):
        call.put(str(number).encode())
        call.put(None)
    assert [call.result() for call in silent] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_call_that_is_cancelled_before_its_message_is_never_answered(echo: SimpleNamespace) -> None:
    call = begin(echo)
    ended = threading.Event()
    call.add_done_callback(lambda _: ended.set())
    call.cancel()
    assert ended.wait(WAIT_S)
    call.put(None)
    assert echo.channel.unary_unary("/test.Echo/Unary")(b"a", timeout=WAIT_S) == b"a"
    assert echo.answered == [b"a"]


class Pairing:
    """Answers calls whose messages are even numbers, and leaves the others to be run, which takes time."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.awaited: list[bool] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self.begun.set()
        self.go_on.wait(WAIT_S)
        return b"alone " + message

    def together(self, calls: list[arrival.Call]) -> list[arrival.Call]:
        self.sizes.append(len(calls))
        self.awaited += [call.is_awaited(time.time()) for call in calls]
        odd = [call for call in calls if int(call.message) % 2]
        for call in calls:
            if call not in odd:
                call.answer(b"together " + call.message, (("x-name", call.message.decode()),))
        return odd


@pytest.fixture
def pairs() -> Iterator[SimpleNamespace]:
    """A server whose one thread is held by a call until `handler.go_on` is set."""
    with pairing(threads=1) as served:
        served.first = served.ask.future(b"1", timeout=WAIT_S)
        assert served.handler.begun.wait(WAIT_S)
        yield served


@contextmanager
def pairing(*, threads: int) -> Iterator[SimpleNamespace]:
    handler, pool = Pairing(), Pool(threads, clock=lambda: 0.0)  # nobody is late
    taken: Any = pool
    server = grpc.server(taken)
    server.add_registered_method_handlers("test.Pairs", {"Ask": grpc.unary_unary_rpc_method_handler(handler)})
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield SimpleNamespace(ask=channel.unary_unary("/test.Pairs/Ask"), handler=handler, pool=pool)
    server.stop(None).wait()
    pool.shutdown()


def test_calls_that_wait_are_offered_to_their_handler_together(pairs: SimpleNamespace) -> None:
    calls = [pairs.ask.future(str(number).encode(), timeout=WAIT_S) for number in range(20)]
    while pairs.pool.waiting < len(calls):
        pass
    pairs.handler.go_on.set()
    assert pairs.first.result() == b"alone 1"
    expected = [f"{'alone' if number % 2 else 'together'} {number}".encode() for number in range(20)]
    assert [call.result() for call in calls] == expected
    assert calls[4].trailing_metadata() == (("x-name", "4"),)
    assert pairs.handler.sizes == [1, TOGETHER, 20 - TOGETHER]


def test_whoever_gave_up_meanwhile_is_not_awaited_and_harms_nobody(pairs: SimpleNamespace) -> None:
    given_up = pairs.ask.future(b"2", timeout=WAIT_S)
    patient = pairs.ask.future(b"4", timeout=WAIT_S)
    while pairs.pool.waiting < 2:
        pass
    given_up.cancel()
    time.sleep(0.2)  # until the server has heard of it
    pairs.handler.go_on.set()
    assert patient.result() == b"together 4"
    assert pairs.handler.awaited == [True, False, True]


def test_nobody_is_forgotten_by_threads_that_take_several_at_once() -> None:
    with pairing(threads=4) as served:
        served.handler.go_on.set()
        for _ in range(5):
            calls = [served.ask.future(str(number).encode(), timeout=WAIT_S) for number in range(400)]
            assert [call.result().split()[1] for call in calls] == [
                str(number).encode() for number in range(400)
            ]
        while not served.pool.idle():  # the last call's thread is about to say so
            pass
        assert served.pool.waiting == 0
