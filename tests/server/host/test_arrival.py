"""Calls over a real socket to one thread: who holds it, and who does not."""

import queue
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from deepmoviematch.server.host import arrival
from deepmoviematch.server.host.pool import Pool

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
