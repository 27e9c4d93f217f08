"""Calls over a real socket to one thread: who holds it, and who does not."""

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from deepmoviematch.server.host import arrival, privates
from deepmoviematch.server.host.pool import Pool

WAIT_S = 10


class Faulty(grpc.GenericRpcHandler):
    """Knows no method, and fails at one."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        assert handler_call_details.method != "/test.Echo/Bug"


@pytest.fixture(params=[True, False], ids=["ours", "gRPC's own way"])
def echo(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A server with one thread that answers with the request, and counts."""
    monkeypatch.setattr(privates, "SUPPORTED", request.param)
    answered: list[bytes] = []

    def answer(message: bytes, context: grpc.ServicerContext) -> bytes:
        answered.append(message)
        return message

    def stream(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"".join(messages)

    pool: Any = Pool(1, clock=lambda: 0.0)  # nobody is late
    server = grpc.server(pool)
    handlers: Any = {
        "Unary": grpc.unary_unary_rpc_method_handler(answer),
        "Stream": grpc.stream_unary_rpc_method_handler(stream),
        "Twice": grpc.unary_stream_rpc_method_handler(lambda message, _: iter([message] * 2)),
        "Number": grpc.unary_unary_rpc_method_handler(
            lambda number, _: number + 1, int, lambda number: str(number).encode()
        ),
    }
    server.add_registered_method_handlers("test.Echo", handlers)
    server.add_generic_rpc_handlers((Faulty(),))
    port = server.add_insecure_port("127.0.0.1:0")
    pool.start(server)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield SimpleNamespace(channel=channel, answered=answered)
    assert server.stop(None).wait(WAIT_S)
    assert not any(pool._coming)
    pool.shutdown()


def begin(echo: SimpleNamespace) -> Any:
    """Begin a call of the unary method; `put` its message, or None to send none."""
    messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    call: Any = echo.channel.stream_unary("/test.Echo/Unary").future(iter(messages.get, None), timeout=WAIT_S)
    call.put = messages.put
    return call


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


def test_a_message_that_cannot_be_read_is_told_to_its_caller_alone(echo: SimpleNamespace) -> None:
    read = echo.channel.unary_unary("/test.Echo/Number")
    with pytest.raises(grpc.RpcError) as caught:
        read(b"none", timeout=WAIT_S)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert read(b"7", timeout=WAIT_S) == b"8"


def test_a_bug_in_looking_for_a_method_is_told_to_its_caller_alone(echo: SimpleNamespace) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echo.channel.unary_unary("/test.Echo/Bug")(b"", timeout=WAIT_S)
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert echo.channel.unary_unary("/test.Echo/Unary")(b"a", timeout=WAIT_S) == b"a"


def test_a_method_that_is_not_there_is_unimplemented(echo: SimpleNamespace) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echo.channel.unary_unary("/test.Echo/Other")(b"", timeout=WAIT_S)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("echo", [True], indirect=True)
def test_callers_who_send_nothing_hold_no_thread(echo: SimpleNamespace) -> None:
    silent = [begin(echo) for _ in range(5)]
    assert echo.channel.unary_unary("/test.Echo/Unary")(b"a", timeout=WAIT_S) == b"a"
    for number, call in enumerate(silent):
        call.put(str(number).encode())
        call.put(None)
    assert [call.result() for call in silent] == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("echo", [True], indirect=True)
def test_callers_who_wait_for_a_stream_and_send_nothing_hold_no_thread_either(echo: SimpleNamespace) -> None:
    silent = [
        echo.channel.stream_stream("/test.Echo/Twice")(iter(threading.Event().wait, None), timeout=WAIT_S)
        for _ in range(3)
    ]
    assert [*echo.channel.unary_stream("/test.Echo/Twice")(b"a", timeout=WAIT_S)] == [b"a", b"a"]
    for call in silent:
        call.cancel()


def test_a_call_that_is_cancelled_before_its_message_is_never_answered(echo: SimpleNamespace) -> None:
    call = begin(echo)
    ended = threading.Event()
    call.add_done_callback(lambda _: ended.set())
    call.cancel()
    assert ended.wait(WAIT_S)
    call.put(None)
    assert echo.channel.unary_unary("/test.Echo/Unary")(b"a", timeout=WAIT_S) == b"a"
    assert echo.answered == [b"a"]


def test_while_there_is_always_an_event_calls_are_answered_still() -> None:
    event = SimpleNamespace(completion_type=None, success=True, tag=lambda _: (None, ()))
    polled, worked = 0, 0

    def poll(until: float) -> SimpleNamespace:
        nonlocal polled
        polled += 1
        if worked == 3 or polled == 1_000_000:
            raise EOFError
        return event

    def work() -> None:
        nonlocal worked
        worked += 1

    state = SimpleNamespace(
        completion_queue=SimpleNamespace(poll=poll), server_deallocated=False, registered_method_handlers={}
    )
    host: Any = SimpleNamespace(has_work=lambda: True, work=work)
    with pytest.raises(EOFError):
        arrival._poll(state, host)
    assert worked == 3


def test_without_what_it_takes_each_is_run_by_a_thread_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(privates, "SUPPORTED", False)
    server = grpc.server(ThreadPoolExecutor(1))
    host: Any = None  # which is never asked
    assert not arrival.start(server, host)
    server.stop(None).wait()
    assert f"got version {version('grpcio')} without" in caplog.text
