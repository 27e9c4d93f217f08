"""The threads that answer calls, and how long a call may wait for one.

gRPC's own choice queues without a bound, so under too much load every call waits
longer than its caller does and all work is in vain. Here a call waits in the order of
arrival, and `crowded` tells when the next one should be refused. There are three queues, each judged by
itself, so that those who wait for what is slow keep nobody from what is not: for the polling thread, for a
thread, and, of calls one of which may take seconds, for one of all threads but one. A burst is not too
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
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeAlias

import grpc

from deepmoviematch.server.errors import OverloadedError
from deepmoviematch.server.host.arrival import start
from deepmoviematch.server.host.call import INTERNAL, Call
from deepmoviematch.server.host.refusal import Refusals, ending, named
from deepmoviematch.server.host.untaken import Untaken
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

MOST_BULK = 100
"""So many of those that may take seconds."""

LOOKS = 8
"""While those who wait for a thread wait too long, only the message of a call tells whether it is cheap. For
each that is, so many more are looked at: to refuse a call by its message costs several times as much as
unread. Where all had to be read, a flood of calls that are not cheap took a fifth of the answers.
"""

MOST_LOOKS = 64
"""So many are left at most."""

SKIPPED = 16
"""Of so many refused unread for want of a look, the next is looked at nevertheless."""

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


class _Queue(deque[_Queued]):
    """What waits for the same, the oldest first."""

    def __init__(self, most: int, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._most, self._clock, self._monotonic = most, clock, monotonic
        self._calm_at = clock()  # when a call last found nobody waiting

    def take_in(self, task: _Task) -> None:
        """Have a task wait, from now on, behind those that do."""
        now = self._clock()
        if not self:
            self._calm_at = now
        self.append(_Queued(now, self._monotonic(), task))

    def crowded(self) -> bool:
        """Whether what came now would wait too long."""
        waiting = len(self)
        return waiting >= self._most or (waiting > FEW_WAITING and self._stands())

    def is_late(self, queued: _Queued, behind: int) -> bool:
        """Whether what has waited, and has so many `behind` it, is not worth its work any more."""
        return behind > FEW_WAITING and self._clock() - queued.arrival > BURST_S

    def _stands(self) -> bool:
        """Whether the first of those who wait has waited for too long."""
        now = self._clock()
        patience_s = BURST_S if now - self._calm_at < BURST_S else PATIENCE_S
        try:
            first = self[0]
        except IndexError:  # a thread has taken it just now
            return False
        return now - first.arrival > patience_s or self._monotonic() - first.since > LONGEST_S


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
        self.untaken = Untaken(partial(self.refusals.count, OverloadedError))
        """Of the calls that it has answered."""
        self._waiting = _Queue(MOST_WAITING, clock, monotonic)  # for a thread
        self._bulk = _Queue(MOST_BULK, clock, monotonic)  # for one of some threads
        self._cheap = _Queue(MOST_WAITING, clock, monotonic)  # for the polling thread, and known to it alone
        self._turns: SimpleQueue[_Queue | None] = SimpleQueue()  # whose first is next; None ends a thread
        self._bulk_turns = max(1, threads - 1)  # that are left for some of bulk to be run
        self._bulk_lock = threading.Lock()
        # Whose message is not there yet, the oldest first, and of those answered at once; as above.
        self._coming: tuple[dict[Call, None], dict[Call, None]] = ({}, {})
        self._receives = True
        self._looks: float = MOST_LOOKS  # left; asked and told by the polling thread
        self._busy = [False] * (threads + 1)  # the last is the polling one
        self._here = threading.local()
        for place in range(threads):
            threading.Thread(target=self._work, args=(place,), name=f"rpc-{place}", daemon=True).start()

    def start(self, server: grpc.Server) -> None:
        """Start a server that was made with this pool."""
        self._receives = start(server, self)

    def submit(self, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> Any:
        """Run `fn(*args)` on a thread, after those that wait.

        Returns:
            None: gRPC wants a future only for a limit of its own, which is not used.
        """
        self._take_in(self._waiting, partial(fn, *args))

    def expect(self, call: Call) -> None:
        """See `call.Host`.

        Honest callers send their message at once. So where there are too many, the one that has taken
        longest makes room. Calls that are answered at once have room of their own: they need no key.
        """
        at_once = _at_once(call)
        coming, waiting = self._coming[at_once], 0 if at_once else self.waiting
        if coming and waiting + len(coming) >= MOST_WAITING:
            oldest = next(iter(coming))
            del coming[oldest]
            self._refuse(oldest)
        coming[call] = None

    def receive(self, call: Call) -> None:
        """See `call.Host`."""
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
        if cheap:
            self._looks = min(MOST_LOOKS, self._looks + LOOKS)
            self._cheap.take_in(call)
        elif (queue := self._queue_of(call.handler)).crowded():
            self._refuse(call)
        else:
            call.follow()
            self._take_in(queue, call)

    def has_work(self) -> bool:
        """See `call.Host`."""
        return bool(self._cheap)

    def work(self) -> None:
        """Answer some of the cheap calls, which this thread alone knows of; see `call.Host`."""
        self._busy[-1] = True
        taken = [self._cheap.popleft() for _ in range(min(MAX_BATCH, len(self._cheap)))]
        behind = len(self._cheap) + len(taken)
        alike: dict[Any, list[_Queued]] = {}
        for each in taken:
            behind -= 1
            if self._cheap.is_late(each, behind):
                self._run(each.task, late=True)
            else:
                alike.setdefault(each.task.handler.unary_unary, []).append(each)
        for handler, some in alike.items():
            self._answer_many(handler, some)
        self._busy[-1] = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting) + len(self._bulk) + len(self._cheap)

    def crowded(self, handler: Any) -> bool:
        """Whether a call that comes now would wait too long, as far as can be told without its message.

        Of one that may turn out to be cheap no more can be told than whether cheap ones do, and whether it
        is worth a look.
        """
        if not (self._receives and hasattr(handler.unary_unary, "is_cheap")):
            return self._queue_of(handler).crowded()
        if self._cheap.crowded():
            return True
        if not self._waiting.crowded():
            return False
        is_looked_at = self._looks >= 1
        self._looks += -1 if is_looked_at else 1 / SKIPPED
        return not is_looked_at

    def late(self) -> bool:
        """Whether the task of this thread has waited too long to be worth its work."""
        return getattr(self._here, "late", False)

    def idle(self) -> bool:
        """Whether nothing is waiting or running."""
        # In the order in which a call goes from one to the next, so that none is missed that does so now.
        waits = self._cheap or self._busy[-1] or self._waiting or self._bulk
        return not (waits or any(self._busy[:-1]))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end, each after what it is at."""
        for _ in self._busy[:-1]:
            self._turns.put(None)

    def _queue_of(self, handler: Any) -> _Queue:
        """Where a call waits that is not cheap."""
        is_bulk = self._receives and getattr(handler.unary_unary, "is_bulk", False)
        return self._bulk if is_bulk else self._waiting

    def _take_in(self, queue: _Queue, task: _Task) -> None:
        """Have a task wait for a thread."""
        queue.take_in(task)
        self._give_turn(queue)

    def _give_turn(self, queue: _Queue, *, ended: int = 0) -> None:
        """Have a thread take what has come to a queue, or what waits there for so many that have ended."""
        if queue is self._waiting:
            self._turns.put(queue)
            return
        with self._bulk_lock:
            self._bulk_turns += ended
            if self._bulk and self._bulk_turns:
                self._bulk_turns -= 1
                self._turns.put(queue)

    def _work(self, place: int) -> None:
        while (queue := self._turns.get()) is not None:
            self._busy[place] = True  # before it counts no longer as waiting
            self._take(queue)
            if queue is self._bulk:
                self._give_turn(queue, ended=1)
            self._busy[place] = False

    def _take(self, queue: _Queue) -> None:
        """Run what waits first; nothing of a call outlives this."""
        try:
            queued = queue.popleft()
        except IndexError:  # what ended at the same time has had another thread take it
            return
        self._run(queued.task, late=queue.is_late(queued, len(queue)))

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
            if each.task not in left:
                each.task.refuse(INTERNAL)
            elif self._waiting.crowded():
                self._refuse(each.task)
            else:
                each.task.follow()
                self._waiting.append(each)
                self._give_turn(self._waiting)

    def _refuse(self, call: Call) -> None:
        self.refusals.count(OverloadedError)
        call.refuse(named(_OVERLOADED, call.invocation_metadata()))

    def _run(self, task: _Task, *, late: bool) -> None:
        self._here.late = late
        try:
            task()
        except Exception:
            log.exception("a bug in running a call")
