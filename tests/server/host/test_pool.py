"""Who waits, for how long, and who is told not to; by a clock that the tests turn."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from deepmoviematch.server.host import pool
from deepmoviematch.server.host.call import Ending
from deepmoviematch.server.host.pool import (
    BURST_S,
    FEW_WAITING,
    LONGEST_S,
    LOOKS,
    MOST_BULK,
    MOST_LOOKS,
    MOST_WAITING,
    PATIENCE_S,
    SKIPPED,
    Pool,
)
from deepmoviematch.server.telemetry.request_ids import HEADER

WAIT_S = 10

SLOW, CHEAP, BULK = (
    SimpleNamespace(unary_unary=SimpleNamespace(**facts))
    for facts in ({}, {"is_cheap": bool}, {"is_bulk": True})
)
"""Handlers; what is cheap to the second is a message that is not empty."""


@pytest.fixture
def blocked() -> Iterator[SimpleNamespace]:
    """A pool whose one thread is busy until `go_on` is set; `now` is its clock, `at` its monotonic one."""
    state = SimpleNamespace(now=0.0, at=0.0, go_on=threading.Event(), begun=threading.Event())
    state.pool = Pool(1, clock=lambda: state.now, monotonic=lambda: state.at)
    state.pool.submit(lambda: (state.begun.set(), state.go_on.wait(WAIT_S)))
    assert state.begun.wait(WAIT_S)
    yield state
    state.go_on.set()
    state.pool.shutdown()


def submit(state: SimpleNamespace, count: int, task: Callable[[], object] = lambda: None) -> None:
    for _ in range(count):
        state.pool.submit(task)


class Waiting:
    """A call whose message is there; running, it says so and waits until `go_on`."""

    def __init__(self, handler: SimpleNamespace, message: bytes = b"") -> None:
        self.handler, self.message, self.is_open = handler, message, True
        self.begun, self.go_on, self.refused = threading.Event(), threading.Event(), list[Ending]()
        self.refuse, self.follow = self.refused.append, Mock()

    def __call__(self) -> None:
        self.begun.set()
        self.go_on.wait(WAIT_S)

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [(HEADER, "order-7")]


def receive(pool: Any, *calls: Waiting) -> None:
    for call in calls:
        pool.receive(call)


def finish(state: SimpleNamespace) -> None:
    """Let everything run that was submitted."""
    last = threading.Event()
    state.pool.submit(last.set)
    state.go_on.set()
    assert last.wait(WAIT_S)


def test_tasks_run_in_the_order_of_arrival(blocked: SimpleNamespace) -> None:
    seen: list[int] = []
    for number in range(5):
        blocked.pool.submit(seen.append, number)
    finish(blocked)
    assert seen == [0, 1, 2, 3, 4]


def test_a_task_that_fails_leaves_its_thread_to_the_others(blocked: SimpleNamespace) -> None:
    blocked.pool.submit(lambda: 1 / 0)
    finish(blocked)


def test_it_is_idle_once_nothing_waits_or_runs(blocked: SimpleNamespace) -> None:
    assert not blocked.pool.idle()
    finish(blocked)
    while not blocked.pool.idle():  # the last task's thread is about to say so
        pass


def test_it_is_not_idle_while_a_cheap_call_is_left_to_a_thread() -> None:
    pool = Pool(1)

    class Left(deque[Any]):
        """What waits for a thread: one more, from the thread that hears, once somebody has looked."""

        def __len__(self) -> int:
            before = super().__len__()
            if pool._busy[-1]:
                self.append("a call")
                pool._busy[-1] = False
            return before

    setattr(pool, "_waiting", Left())  # noqa: B010 - it is no queue
    pool._busy[-1] = True
    assert not pool.idle()
    pool.shutdown()


def test_a_burst_may_wait(blocked: SimpleNamespace) -> None:
    submit(blocked, FEW_WAITING + 1)
    blocked.now += BURST_S * 0.9
    assert not blocked.pool.crowded(SLOW)


def test_a_queue_that_stands_is_crowded(blocked: SimpleNamespace) -> None:
    submit(blocked, FEW_WAITING + 1)
    blocked.now += BURST_S * 1.1
    assert blocked.pool.crowded(SLOW)


def test_after_long_waiting_patience_is_short(blocked: SimpleNamespace) -> None:
    submit(blocked, 1)
    blocked.now = 5.0
    submit(blocked, FEW_WAITING + 1)
    late: list[bool] = []
    assert blocked.pool._waiting.popleft().arrival == 0.0  # as if a thread had taken the old one
    blocked.pool._turns.get()
    blocked.now += PATIENCE_S * 0.9
    assert not blocked.pool.crowded(SLOW)
    blocked.now += PATIENCE_S * 0.2
    assert blocked.pool.crowded(SLOW)
    submit(blocked, 1, lambda: late.append(blocked.pool.late()))
    finish(blocked)
    assert late == [False]  # few were left behind it


def test_few_that_wait_for_slow_calls_are_no_crowd(blocked: SimpleNamespace) -> None:
    submit(blocked, FEW_WAITING)
    blocked.now = blocked.at = 60.0
    assert not blocked.pool.crowded(SLOW)


def test_a_queue_that_stands_though_nothing_is_computed_is_crowded(blocked: SimpleNamespace) -> None:
    submit(blocked, FEW_WAITING + 1)
    blocked.at += LONGEST_S * 0.9
    assert not blocked.pool.crowded(SLOW)
    blocked.at += LONGEST_S * 0.2
    assert blocked.pool.crowded(SLOW)


def test_half_sent_calls_that_are_answered_at_once_take_no_room_from_others(
    blocked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MOST_WAITING", 3)
    halves = {at_once: [Mock() for _ in range(5)] for at_once in (False, True)}
    for at_once, calls in halves.items():
        for call in calls:
            call.handler.unary_unary.at_once = at_once
            call.invocation_metadata.return_value = ()
    for call in [*halves[False][:3], *halves[True], *halves[False][3:4]]:
        blocked.pool.expect(call)
    assert [call.refuse.called for call in halves[True]] == [True, True, False, False, False]
    assert [call.refuse.called for call in halves[False]] == [True, False, False, False, False]
    assert blocked.pool.refusals.counts["OVERLOADED"] == 3


def test_too_many_are_a_crowd_at_once(blocked: SimpleNamespace) -> None:
    submit(blocked, MOST_WAITING - 1)
    assert not blocked.pool.crowded(SLOW)
    submit(blocked, 1)
    assert blocked.pool.crowded(SLOW)


def test_those_who_wait_for_a_thread_are_no_crowd_to_those_who_need_none(blocked: SimpleNamespace) -> None:
    submit(blocked, FEW_WAITING + 1)
    blocked.now += BURST_S * 1.1
    assert [blocked.pool.crowded(handler) for handler in (SLOW, CHEAP, BULK)] == [True, False, False]


def test_those_who_wait_for_the_polling_thread_are_no_crowd_to_others(blocked: SimpleNamespace) -> None:
    receive(blocked.pool, *(Waiting(CHEAP, b"cheap") for _ in range(FEW_WAITING + 1)))
    blocked.now += BURST_S * 1.1
    assert [blocked.pool.crowded(handler) for handler in (SLOW, CHEAP, BULK)] == [False, True, False]


def test_a_flood_of_what_needs_a_thread_is_refused_unread_unless_there_is_something_cheap_in_it(
    blocked: SimpleNamespace,
) -> None:
    submit(blocked, FEW_WAITING + 1)
    blocked.now += BURST_S * 1.1

    def let_in(count: int) -> int:
        return [blocked.pool.crowded(CHEAP) for _ in range(count)].count(False)

    assert let_in(MOST_LOOKS + 1) == MOST_LOOKS
    assert let_in((SKIPPED + 1) * 5) == 5
    receive(blocked.pool, Waiting(CHEAP, b"cheap"))
    assert let_in(LOOKS + 1) == LOOKS


def test_what_turns_out_to_need_a_thread_is_refused_by_its_name_if_others_wait_too_long(
    blocked: SimpleNamespace,
) -> None:
    calls = Waiting(CHEAP, b"cheap"), Waiting(CHEAP), Waiting(CHEAP)
    receive(blocked.pool, calls[1])
    submit(blocked, FEW_WAITING)
    blocked.now += BURST_S * 1.1
    receive(blocked.pool, calls[0], calls[2])
    assert [len(call.refused) for call in calls] == [0, 0, 1]
    assert calls[2].refused[0].code.name == "RESOURCE_EXHAUSTED"
    assert (HEADER, "order-7") in calls[2].refused[0].trailing_metadata
    assert not calls[2].follow.called
    assert blocked.pool.refusals.counts["OVERLOADED"] == 1
    assert calls[1].begun.is_set() is False
    calls[1].go_on.set()


def test_what_takes_long_after_all_is_refused_too_if_others_wait_too_long(blocked: SimpleNamespace) -> None:
    handler = Mock(is_cheap=bool, answer_many=list, at_once=False)
    call = Waiting(SimpleNamespace(unary_unary=handler), b"cheap")
    submit(blocked, FEW_WAITING + 1)
    blocked.now += BURST_S * 1.1
    receive(blocked.pool, call)
    blocked.pool.work()
    assert len(call.refused) == 1


@pytest.mark.parametrize(("threads", "at_once"), [(1, 1), (2, 1), (3, 2)])
def test_calls_that_may_take_seconds_leave_a_thread_to_others(threads: int, at_once: int) -> None:
    pool = Pool(threads)
    calls = [Waiting(BULK) for _ in range(5)]
    receive(pool, *calls)
    for place, call in enumerate(calls):
        assert call.begun.wait(WAIT_S)
        assert not any(each.begun.is_set() for each in calls[place + at_once :])
        if threads > 1:
            other = threading.Event()
            pool.submit(other.set)
            assert other.wait(WAIT_S)
        call.go_on.set()
    while not pool.idle():  # the last call's thread is about to say so
        pass
    pool.shutdown()


def test_of_calls_that_may_take_seconds_fewer_may_wait(blocked: SimpleNamespace) -> None:
    calls = [Waiting(BULK) for _ in range(MOST_BULK + 1)]
    receive(blocked.pool, *calls)
    assert [len(call.refused) for call in calls] == [0] * MOST_BULK + [1]
    assert [blocked.pool.crowded(handler) for handler in (SLOW, BULK)] == [False, True]
    for call in calls:
        call.go_on.set()


def test_what_has_waited_too_long_is_late_while_others_wait(blocked: SimpleNamespace) -> None:
    late: list[bool] = []
    submit(blocked, FEW_WAITING + 2, lambda: late.append(blocked.pool.late()))
    blocked.now += BURST_S * 1.1
    submit(blocked, 1)
    blocked.go_on.set()
    finish(blocked)
    assert late == [True, True, True] + [False] * (FEW_WAITING - 1)
