"""The threads that answer calls, and how long a call may wait for one.

gRPC's own choice queues without a bound, so under too much load every call waits
longer than its caller does and all work is in vain. Here a call waits in the order of
arrival, and `crowded` tells when the next one should be refused. A burst is not too
much load: as long as nobody has waited lately, calls may wait for `BURST_S`; once
there has been somebody waiting for that long without a break, for `PATIENCE_S` only.
(After the adaptive LIFO and controlled delay of Maurer, "Fail at Scale", ACM Queue
2015, with a queue that stays first in, first out.)

Calls that wait one after the other and whose handlers can answer several are taken at once: what
one needs, code and tables, is at hand for the next, and many questions are one matrix product.
Nobody is waited for, so a call that comes alone is not delayed. What a handler leaves, for it takes
long, waits again, where it was, for whatever thread is free, and is run alone.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeAlias

from deepmoviematch.server.host.arrival import Call, await_message

PATIENCE_S = 0.015
"""How long a call may wait for a thread while there is no end to the waiting; seconds of processor time."""

BURST_S = 0.05
"""How long it may wait otherwise."""

FEW_WAITING = 16
"""So many calls may wait however long it takes: slow calls are no sign of too many."""

MOST_WAITING = 1000
"""So many may wait, or be about to, however short it takes: each may hold a request of several MiB."""

TOGETHER = 16
"""So many are taken at a time, at most."""

_Task: TypeAlias = Callable[[], object]


class _Waiting(NamedTuple):
    """What is to be run, and since when."""

    arrival: float
    task: _Task
    together: Callable[[list[Any]], Sequence[Any]] | None
    """How it can be answered with others, if it can."""


log = logging.getLogger(__name__)


class Pool(Executor):
    """A fixed number of threads, and a queue that knows how long its first has waited.

    An executor to gRPC, which looks for nothing but `submit`.
    """

    def __init__(self, threads: int, *, clock: Callable[[], float] = time.process_time) -> None:
        """Start the threads.

        Args:
            threads: How many, at least 1.
            clock: Tells seconds of processor time.
        """
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()  # the oldest first
        self._turns: SimpleQueue[bool] = (
            SimpleQueue()
        )  # one for each that waits, or more; False ends a thread
        self._taking = threading.Lock()
        self._coming = 0  # calls whose message is not there yet; gRPC's thread alone counts them
        self._calm_at = clock()  # when a call last found nobody waiting
        self._busy = [False] * threads
        self._here = threading.local()
        for place in range(threads):
            threading.Thread(target=self._work, args=(place,), name=f"rpc-{place}", daemon=True).start()

    def submit(self, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> Any:
        """Run `fn(*args)` on a thread, after those that wait; a unary call once its message is there.

        Returns:
            None: gRPC wants a future only for a limit of its own, which is not used.
        """
        self._coming += 1
        if not await_message(fn, args, self._come):
            self._come(partial(fn, *args))

    def _come(self, task: _Task | None) -> None:
        self._coming -= 1
        if task is None:
            return
        now = self._clock()
        if not self._waiting:
            self._calm_at = now
        together = getattr(task.handler, "together", None) if isinstance(task, Call) else None
        self._waiting.append(_Waiting(now, task, together))
        self._turns.put(True)

    @property
    def waiting(self) -> int:
        """How many wait for a thread."""
        return len(self._waiting)

    def crowded(self) -> bool:
        """Whether a call that came now would wait too long."""
        waiting = self.waiting
        if waiting + self._coming >= MOST_WAITING:
            return True
        return waiting > FEW_WAITING and self._exceeds(self._first())

    def late(self) -> bool:
        """Whether the task of this thread has waited too long to be worth its work."""
        return getattr(self._here, "late", False)

    def idle(self) -> bool:
        """Whether nothing is waiting or running."""
        return not self._waiting and not any(self._busy)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end, each after what it is at."""
        for _ in self._busy:
            self._turns.put(False)

    def _first(self) -> float:
        """When the first in the queue arrived."""
        try:
            return self._waiting[0].arrival
        except IndexError:  # a thread has taken it just now
            return self._clock()

    def _exceeds(self, arrival: float) -> bool:
        now = self._clock()
        return now - arrival > (BURST_S if now - self._calm_at < BURST_S else PATIENCE_S)

    def _work(self, place: int) -> None:
        while self._turns.get():
            self._busy[place] = True  # before it counts no longer as waiting
            self._serve(self._take())
            self._busy[place] = False

    def _take(self) -> list[_Waiting]:
        """Whose turn it is: who waits first, and who is next, if they can be answered with others."""
        taken: list[_Waiting] = []
        with self._taking:
            while self._waiting and len(taken) < TOGETHER:
                if taken and None in (taken[0].together, self._waiting[0].together):
                    break
                taken.append(self._waiting.popleft())
            with suppress(Empty):  # where another thread took the turn of one of them: it will find nobody
                for _ in taken[1:]:
                    if not self._turns.get_nowait():
                        self._turns.put(False)
        return taken

    def _serve(self, taken: list[_Waiting]) -> None:
        now, behind = self._clock(), self.waiting + len(taken)
        alike: dict[Any, list[_Waiting]] = {}
        for each in taken:
            behind -= 1
            late = behind > FEW_WAITING and now - each.arrival > BURST_S
            if each.together is None or late:
                self._run(each.task, late=late)
            else:
                alike.setdefault(each.together, []).append(each)
        for together, some in alike.items():
            try:
                left = together([each.task for each in some])
            except Exception:
                log.exception("a bug in answering calls together")
                continue
            if left:
                again = [each._replace(together=None) for each in some if each.task in left]
                self._waiting.extendleft(reversed(again))
                for _ in again:
                    self._turns.put(True)

    def _run(self, task: _Task, *, late: bool) -> None:
        self._here.late = late
        try:
            task()
        except Exception:
            log.exception("a bug in running a call")
