"""The threads that answer calls, and how long a call may wait for one.

gRPC's own choice queues without a bound, so under too much load every call waits
longer than its caller does and all work is in vain. Here a call waits in the order of
arrival, and `crowded` tells when the next one should be refused. A burst is not too
much load: as long as nobody has waited lately, calls may wait for `BURST_S`; once
there has been somebody waiting for that long without a break, for `PATIENCE_S` only.
(After the adaptive LIFO and controlled delay of Maurer, "Fail at Scale", ACM Queue
2015, with a queue that stays first in, first out.)

Calls that wait are taken several at a time, and those of one method answered together, where
its handler can do so: what one needs, code and tables, is at hand for the next, and many
questions are one matrix product. Nobody is waited for, so a call that comes alone is not delayed.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

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
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._arrivals: deque[float] = deque()  # of the tasks that wait, the oldest first
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
        if not self._arrivals:
            self._calm_at = now
        self._arrivals.append(now)
        self._tasks.put(task)

    def crowded(self) -> bool:
        """Whether a call that came now would wait too long."""
        waiting = len(self._arrivals)
        if waiting + self._coming >= MOST_WAITING:
            return True
        return waiting > FEW_WAITING and self._exceeds(self._first())

    def late(self) -> bool:
        """Whether the task of this thread has waited too long to be worth its work."""
        return getattr(self._here, "late", False)

    def idle(self) -> bool:
        """Whether nothing is waiting or running."""
        return not self._arrivals and not any(self._busy)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end, each after what it is at."""
        for _ in self._busy:
            self._tasks.put(None)

    def _first(self) -> float:
        """When the first in the queue arrived."""
        try:
            return self._arrivals[0]
        except IndexError:  # a thread has taken it just now
            return self._clock()

    def _exceeds(self, arrival: float) -> bool:
        now = self._clock()
        return now - arrival > (BURST_S if now - self._calm_at < BURST_S else PATIENCE_S)

    def _work(self, place: int) -> None:
        while (task := self._tasks.get()) is not None:
            self._busy[place] = True  # before it counts no longer as waiting
            left = self._answer_together([task, *self._others()])
            for task, late in left:
                self._here.late = late
                try:
                    task()
                except Exception:
                    log.exception("a bug in running a call")
            del task, left  # nothing of a call outlives it here
            self._busy[place] = False

    def _others(self) -> Iterator[_Task]:
        """What else waits, and has its turn now."""
        with suppress(Empty):
            for _ in range(TOGETHER - 1):
                task = self._tasks.get_nowait()
                if task is None:  # the end of another thread
                    self._tasks.put(None)
                    return
                yield task

    def _answer_together(self, tasks: Sequence[_Task]) -> list[tuple[_Task, bool]]:
        """Have handlers answer what they can of the calls that have their turn.

        Returns:
            What is left to be run, and whether it has waited too long to be worth its work.
        """
        now = self._clock()
        left: list[tuple[_Task, bool]] = []
        alike: dict[Callable[[list[Call]], list[Call]], list[Call]] = {}
        for task in tasks:
            arrival = self._arrivals.popleft()
            late = len(self._arrivals) > FEW_WAITING and now - arrival > BURST_S
            if isinstance(task, Call) and not late and hasattr(task.handler, "together"):
                alike.setdefault(task.handler.together, []).append(task)
            else:
                left.append((task, late))
        for together, calls in alike.items():
            try:
                left += [(call, False) for call in together(calls)]
            except Exception:
                log.exception("a bug in answering calls together")
        return left
