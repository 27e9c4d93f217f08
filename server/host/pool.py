"""The threads that answer calls, and how long a call may wait for one.

gRPC's own choice queues without a bound, so under too much load every call waits
longer than its caller does and all work is in vain. Here a call waits in the order of
arrival, and `crowded` tells when the next one should be refused. A burst is not too
much load: as long as nobody has waited lately, calls may wait for `BURST_S`; once
there has been somebody waiting for that long without a break, for `PATIENCE_S` only.
(After the adaptive LIFO and controlled delay of Maurer, "Fail at Scale", ACM Queue
2015, with a queue that stays first in, first out.)

Calls whose handler says that they are cheap take less time than to hand them to a thread. They are
micro-batched: the polling thread answers what has come so far, up to `MAX_BATCH` calls, as soon as it has no
event left to see to. What one needs, code and tables, is at hand for the next, and many questions are one
matrix product. What their handler leaves, for it takes long after all, waits for a thread like any other.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeAlias

import grpc

from deepmoviematch.server.errors import OverloadedError
from deepmoviematch.server.host.arrival import INTERNAL, Call, start
from deepmoviematch.server.host.refusal import Refusals, ending
from deepmoviematch.server.rpc.status import to_status

PATIENCE_S = 0.015
"""How long a call may wait for a thread while there is no end to the waiting; seconds of processor time."""

BURST_S = 0.05
"""How long it may wait otherwise."""

LONGEST_S = 1.0
"""How long it may wait in any case, by the clock: threads that wait for a disk take no processor time."""

FEW_WAITING = 12
"""So many calls may wait however long it takes: slow calls are no sign of too many. The more they are, the
longer a flood of slow calls waits: with these some eight times as long as one alone takes.
"""

MOST_WAITING = 1000
"""So many may wait, or be about to, however short it takes: each may hold a request of several MiB."""

MAX_BATCH = 16
"""So many cheap calls are answered in one go, at most."""

_OVERLOADED = ending(to_status(OverloadedError()))

_Task: TypeAlias = Callable[[], object]


class _Queued(NamedTuple):
    """What is to be run, and since when: by the processor's time, and by the clock."""

    arrival: float
    since: float
    task: Any
    """A `_Task`; a `Call` if it is cheap."""


log = logging.getLogger(__name__)


def _never(_: object) -> bool:
    return False


def _at_once(call: Call) -> bool:
    """Whether the polling thread answers it as soon as its message is there."""
    return getattr(call.handler.unary_unary or call.handler.unary_stream, "at_once", False)


class Pool(Executor):
    """A fixed number of threads, and a queue that knows how long its first has waited.

    An executor to gRPC, which looks for nothing but `submit`.
    """

    def __init__(
        self,
        threads: int,
        *,
        clock: Callable[[], float] = time.process_time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the threads.

        Args:
            threads: How many, at least 1.
            clock: Tells seconds of processor time that calls have taken.
            monotonic: Tells seconds.
        """
        self.refusals = Refusals()
        """Of this pool, and of whoever asks it before a call is let in."""
        self._monotonic = monotonic
        self._clock = clock
        self._waiting: deque[_Queued] = deque()  # for a thread, the oldest first
        self._turns: SimpleQueue[bool] = SimpleQueue()  # one for each of them; False ends a thread
        self._cheap: deque[_Queued] = deque()  # for the polling thread, and known to it alone
        # Whose message is not there yet, the oldest first, and of those answered at once; as above.
        self._coming: tuple[dict[Call, None], dict[Call, None]] = ({}, {})
        self._calm_at = clock()  # when a call last found nobody waiting
        self._busy = [False] * (threads + 1)  # the last is the polling one
        self._here = threading.local()
        for place in range(threads):
            threading.Thread(target=self._work, args=(place,), name=f"rpc-{place}", daemon=True).start()

    def start(self, server: grpc.Server) -> None:
        """Start a server that was made with this pool."""
        start(server, self)

    def submit(self, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> Any:
        """Run `fn(*args)` on a thread, after those that wait.

        Returns:
            None: gRPC wants a future only for a limit of its own, which is not used.
        """
        self._take_in(partial(fn, *args), cheap=False)

    def expect(self, call: Call) -> None:
        """See `arrival.Host`.

        Honest callers send their message at once. So where there are too many, the one that has taken
        longest makes room. Calls that are answered at once have room of their own: they need no key.
        """
        at_once = _at_once(call)
        coming, waiting = self._coming[at_once], 0 if at_once else self.waiting
        if coming and waiting + len(coming) >= MOST_WAITING:
            oldest = next(iter(coming))
            del coming[oldest]
            self.refusals.count(OverloadedError)
            oldest.refuse(_OVERLOADED)
        coming[call] = None

    def receive(self, call: Call) -> None:
        """See `arrival.Host`."""
        at_once = _at_once(call)
        self._coming[at_once].pop(call, None)
        if not call.is_open:
            return
        if at_once:
            self._run(call, late=False)
            return
        cheap = False
        try:
            cheap = getattr(call.handler.unary_unary, "is_cheap", _never)(call.message)
        except Exception:
            log.exception("a bug in telling whether a call is cheap")
        if not cheap:
            call.follow()
        self._take_in(call, cheap=cheap)

    def has_work(self) -> bool:
        """See `arrival.Host`."""
        return bool(self._cheap)

    def work(self) -> None:
        """Answer some of the cheap calls, which this thread alone knows of; see `arrival.Host`."""
        self._busy[-1] = True
        taken = [self._cheap.popleft() for _ in range(min(MAX_BATCH, len(self._cheap)))]
        behind = self.waiting + len(taken)
        alike: dict[Any, list[_Queued]] = {}
        for each in taken:
            behind -= 1
            if self._is_late(each, behind):
                self._run(each.task, late=True)
            else:
                alike.setdefault(each.task.handler.unary_unary, []).append(each)
        for handler, some in alike.items():
            self._answer_many(handler, some)
        self._busy[-1] = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting) + len(self._cheap)

    def crowded(self) -> bool:
        """Whether a call that came now would wait too long."""
        waiting = self.waiting
        return waiting >= MOST_WAITING or (waiting > FEW_WAITING and self._stands())

    def late(self) -> bool:
        """Whether the task of this thread has waited too long to be worth its work."""
        return getattr(self._here, "late", False)

    def idle(self) -> bool:
        """Whether nothing is waiting or running."""
        # In the order in which a call goes from one to the next, so that none is missed that does so now.
        return not (self._cheap or self._busy[-1] or self._waiting or any(self._busy[:-1]))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end, each after what it is at."""
        for _ in self._busy[:-1]:
            self._turns.put(False)

    def _stands(self) -> bool:
        """Whether the first of those who wait has waited for too long."""
        now = self._clock()
        patience_s = BURST_S if now - self._calm_at < BURST_S else PATIENCE_S
        for queue in (self._waiting, self._cheap):
            with suppress(IndexError):  # a thread has taken it just now
                first = queue[0]
                if now - first.arrival > patience_s or self._monotonic() - first.since > LONGEST_S:
                    return True
        return False

    def _take_in(self, task: _Task, *, cheap: bool) -> None:
        """Have a task wait, from now on, behind those that do."""
        now = self._clock()
        if not self.waiting:
            self._calm_at = now
        queued = _Queued(now, self._monotonic(), task)
        if cheap:
            self._cheap.append(queued)
        else:
            self._hand_on(queued)

    def _hand_on(self, queued: _Queued) -> None:
        """Have it wait for a thread."""
        self._waiting.append(queued)
        self._turns.put(True)

    def _work(self, place: int) -> None:
        while self._turns.get():
            self._busy[place] = True  # before it counts no longer as waiting
            self._take()
            self._busy[place] = False

    def _take(self) -> None:
        """Run what waits first; nothing of a call outlives this."""
        queued = self._waiting.popleft()
        self._run(queued.task, late=self._is_late(queued, self.waiting))

    def _answer_many(self, handler: Any, some: Sequence[_Queued]) -> None:
        """Answer calls of one handler together, and have a thread run each that is left."""
        left: Sequence[Call] = ()
        try:
            left = tuple(handler.answer_many([each.task for each in some]))
        except Exception:
            log.exception("a bug in answering calls together")
        for each in some:
            if not each.task.is_open:
                continue
            if each.task in left:
                each.task.follow()
                self._hand_on(each)
            else:
                each.task.refuse(INTERNAL)

    def _is_late(self, queued: _Queued, behind: int) -> bool:
        """Whether what has waited, and has so many `behind` it, is not worth its work any more."""
        return behind > FEW_WAITING and self._clock() - queued.arrival > BURST_S

    def _run(self, task: _Task, *, late: bool) -> None:
        self._here.late = late
        try:
            task()
        except Exception:
            log.exception("a bug in running a call")
