"""Calls that the polling thread answers in batches or leaves to others, over a real socket."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from deepmoviematch.server.host.call import Call
from deepmoviematch.server.host.pool import FEW_WAITING, MAX_BATCH, Pool

WAIT_S = 10


def eventually(holds: Callable[[], object]) -> None:
    """Wait until it does."""
    until = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.001)


class Pairing:
    """Answers calls whose messages are even numbers at once; leaves the others to be run, which takes time.

    Until `go_on` is set, message 0 holds the polling thread, and odd ones those that run them.
    """

    def __init__(self) -> None:
        self.cheap = True
        self.sizes: list[int] = []
        self.ran: list[bytes] = []
        self.active: dict[bytes, bool] = {}
        self.held, self.go_on = threading.Event(), threading.Event()

    def __call__(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self.ran.append(message)
        self.active[message] = context.is_active()
        self.go_on.wait(WAIT_S)
        return b"alone " + message

    def is_cheap(self, message: bytes) -> bool:
        return self.cheap

    def answer_many(self, calls: list[Call]) -> list[Call]:
        awaited = [call for call in calls if call.is_awaited(time.time())]
        self.sizes.append(len(awaited))
        if any(call.message == b"0" for call in calls):
            self.held.set()
            self.go_on.wait(WAIT_S)
        left = [call for call in calls if call not in awaited or int(call.message) % 2]
        for call in calls:
            if call not in left:
                call.answer(b"together " + call.message, (("x-name", call.message.decode()),))
        return left


@pytest.fixture
def pairs(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """A server over `handler` with as many threads as the parameter says, else one."""
    handler = Pairing()
    pool: Any = Pool(getattr(request, "param", 1), clock=lambda: 0.0)  # nobody is late
    server = grpc.server(pool)
    server.add_registered_method_handlers("test.Pairs", {"Ask": grpc.unary_unary_rpc_method_handler(handler)})
    port = server.add_insecure_port("127.0.0.1:0")
    pool.start(server)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield SimpleNamespace(
            channel=channel,
            server=server,
            ask=channel.unary_unary("/test.Pairs/Ask"),
            handler=handler,
            pool=pool,
            states=lambda: vars(server)["_state"].rpc_states,
        )
    handler.go_on.set()
    assert server.stop(None).wait(WAIT_S)
    pool.shutdown()


def begun(pairs: SimpleNamespace, numbers: range) -> list[Any]:
    """Calls that are on their way while nobody hears of them."""
    first = pairs.ask.future(b"0", timeout=WAIT_S)
    assert pairs.handler.held.wait(WAIT_S)
    calls = [pairs.ask.future(str(number).encode(), timeout=WAIT_S) for number in numbers]
    time.sleep(0.2)  # until they have reached the server
    return [first, *calls]


def test_cheap_calls_that_have_come_meanwhile_are_answered_together(pairs: SimpleNamespace) -> None:
    calls = begun(pairs, range(2, 42, 2))
    pairs.handler.go_on.set()
    assert [call.result() for call in calls] == [f"together {number}".encode() for number in range(0, 42, 2)]
    assert calls[2].trailing_metadata() == (("x-name", "4"),)
    assert sum(pairs.handler.sizes) == len(calls)
    assert 1 < max(pairs.handler.sizes) <= MAX_BATCH


def test_a_flood_is_taken_in_sooner_than_it_is_answered_so_that_calls_can_be_refused(
    pairs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []
    answer = pairs.handler.answer_many

    def answer_many(calls: list[Call]) -> list[Call]:
        waiting.append(pairs.pool.waiting)
        return list(answer(calls))

    monkeypatch.setattr(pairs.handler, "answer_many", answer_many)
    calls = begun(pairs, range(2, 602, 2))
    pairs.handler.go_on.set()
    assert [call.result() for call in calls] == [f"together {number}".encode() for number in range(0, 602, 2)]
    assert max(waiting) > FEW_WAITING


def test_what_takes_long_after_all_waits_for_a_thread_and_keeps_nobody(pairs: SimpleNamespace) -> None:
    slow = [pairs.ask.future(str(number).encode(), timeout=WAIT_S) for number in (1, 3)]
    assert pairs.ask(b"2", timeout=WAIT_S) == b"together 2"
    assert not any(call.done() for call in slow)
    pairs.handler.go_on.set()
    assert [call.result() for call in slow] == [b"alone 1", b"alone 3"]


def test_what_takes_long_after_all_waits_behind_those_who_came_before_it(pairs: SimpleNamespace) -> None:
    calls = []
    for place, (number, cheap) in enumerate([(1, True), (3, False), (5, True), (7, False)]):
        pairs.handler.cheap = cheap
        calls.append(pairs.ask.future(str(number).encode(), timeout=WAIT_S))
        eventually(lambda: len(pairs.handler.ran) + len(pairs.pool._waiting) > place)  # noqa: B023
    pairs.handler.go_on.set()
    assert [call.result() for call in calls] == [b"alone 1", b"alone 3", b"alone 5", b"alone 7"]
    assert pairs.handler.ran == [b"1", b"3", b"5", b"7"]


def test_whoever_gave_up_meanwhile_harms_nobody(pairs: SimpleNamespace) -> None:
    _, given_up, patient = begun(pairs, range(2, 6, 2))
    given_up.cancel()
    time.sleep(0.2)  # until that has reached the server too
    pairs.handler.go_on.set()
    assert patient.result() == b"together 4"
    assert pairs.ask(b"6", timeout=WAIT_S) == b"together 6"


def test_whose_deadline_passed_meanwhile_is_not_awaited(pairs: SimpleNamespace) -> None:
    begun(pairs, range(0))
    late = pairs.ask.future(b"2", timeout=0.1)
    assert late.exception(WAIT_S) is not None
    pairs.handler.go_on.set()
    assert pairs.ask(b"4", timeout=WAIT_S) == b"together 4"
    assert sum(pairs.handler.sizes) == 2


def test_whoever_gave_up_while_waiting_for_a_thread_is_known_not_to_wait(pairs: SimpleNamespace) -> None:
    slow = pairs.ask.future(b"1", timeout=WAIT_S)
    eventually(lambda: pairs.handler.ran)
    given_up, patient = (pairs.ask.future(each, timeout=WAIT_S) for each in (b"3", b"5"))
    eventually(lambda: len(pairs.pool._waiting) == 2)
    given_up.cancel()
    eventually(lambda: len(pairs.states()) == 2)  # when that has reached the server
    pairs.handler.go_on.set()
    assert [slow.result(), patient.result()] == [b"alone 1", b"alone 5"]
    eventually(lambda: pairs.handler.active == {b"1": True, b"3": False, b"5": True})  # in whatever order


def test_whoever_a_bug_would_leave_without_an_answer_is_told(
    pairs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = pairs.handler.answer_many

    def answer_many(calls: list[Call]) -> list[Call]:
        answer(calls[:1])
        raise ZeroDivisionError

    _, *calls = begun(pairs, range(2, 42, 2))
    monkeypatch.setattr(pairs.handler, "answer_many", answer_many)
    pairs.handler.go_on.set()
    assert {call.code() for call in calls} == {grpc.StatusCode.OK, grpc.StatusCode.INTERNAL}


def test_a_bug_that_leaves_an_answered_call_to_a_thread_harms_nobody(
    pairs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = pairs.handler.answer_many
    monkeypatch.setattr(pairs.handler, "answer_many", lambda calls: (answer(calls), calls)[1])
    pairs.handler.go_on.set()
    assert [pairs.ask(each, timeout=WAIT_S) for each in (b"2", b"4")] == [b"together 2", b"together 4"]
    assert pairs.handler.ran == []


def test_a_bug_in_telling_what_is_cheap_harms_nobody(
    pairs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs.handler, "is_cheap", lambda message: 1 / 0)
    pairs.handler.go_on.set()
    assert pairs.ask(b"2", timeout=WAIT_S) == b"alone 2"


def test_a_server_that_stops_ends_calls_wherever_they_are(pairs: SimpleNamespace) -> None:
    silent = pairs.channel.stream_unary("/test.Pairs/Ask").future(
        iter(threading.Event().wait, None), timeout=WAIT_S
    )
    runs, waits = (pairs.ask.future(each, timeout=WAIT_S) for each in (b"1", b"3"))
    eventually(lambda: len(pairs.states()) == 3 and pairs.handler.ran)
    stopped = pairs.server.stop(None)
    for call in (silent, runs, waits):
        assert call.exception(WAIT_S) is not None
    pairs.handler.go_on.set()
    assert stopped.wait(WAIT_S)


def test_nothing_is_kept_of_calls_that_have_ended(pairs: SimpleNamespace) -> None:
    pairs.handler.go_on.set()
    calls = [pairs.ask.future(str(number).encode(), timeout=WAIT_S) for number in range(1, 101)]
    for call in calls[::10]:
        call.cancel()
    for call in calls:
        call.exception(WAIT_S) if not call.cancelled() else None
    eventually(lambda: not pairs.states())  # the last are about to be told


def test_calls_that_are_not_cheap_are_each_run_by_a_thread(pairs: SimpleNamespace) -> None:
    pairs.handler.cheap = False
    pairs.handler.go_on.set()
    assert pairs.ask(b"2", timeout=WAIT_S) == b"alone 2"
    assert pairs.handler.sizes == []


@pytest.mark.parametrize("pairs", [4], indirect=True)
def test_nobody_is_forgotten(pairs: SimpleNamespace) -> None:
    pairs.handler.go_on.set()
    for _ in range(5):
        calls = [pairs.ask.future(str(number).encode(), timeout=WAIT_S) for number in range(400)]
        assert [call.result().split()[1] for call in calls] == [str(number).encode() for number in range(400)]
    eventually(pairs.pool.idle)  # the last call's thread is about to say so
    assert pairs.pool.waiting == 0
