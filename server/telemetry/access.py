"""A log line for each answered request, at a small price.

The logging system takes as long for a line as an answer takes to find. So these lines
are put together here, and written many at once by a thread of their own.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from select import PIPE_BUF
from typing import Any, Protocol, TextIO

FLUSH_S = 0.2
"""How long a line may wait for others to be written with."""

MOST_WAITING = 10_000
"""Lines; whoever adds one more writes them first."""


class LoggedReply(Protocol):
    """What a line says of a reply."""

    @property
    def generation_id(self) -> str:
        """Which generation it comes from."""

    @property
    def results(self) -> int:
        """How many there are in all."""

    @property
    def requests(self) -> int | None:
        """How many requests it answers, if it is the reply to a batch."""

    @property
    def trials(self) -> Sequence[Any]:
        """What users got as part of experiments, in such tuples too."""

    @property
    def chances(self) -> Sequence[Any]:
        """What was left to chance, in named tuples that JSON takes as dictionaries."""


class AccessHandler(logging.StreamHandler[TextIO]):
    """Writes records as ever, and besides them the lines of answered requests, as JSON."""

    def __init__(self, stream: TextIO, worker: int | None = None) -> None:
        """Write to `stream`.

        Args:
            stream: Takes the lines.
            worker: A fact of every line, if there is one.
        """
        super().__init__(stream)
        self._worker = "" if worker is None else f'"worker": {worker}, '
        self._waiting: deque[tuple[float, str, float, str, str]] = deque()
        threading.Thread(target=self._flush_for_ever, name="access log", daemon=True).start()

    def answered(self, method: str, seconds: float, reply: LoggedReply, request_id: str) -> None:
        """Log that a call of `method` was answered with `reply` after so many seconds.

        The id must be such as JSON takes as it is; see `request_ids`.
        """
        # Not the reply itself: the caches would be full of what nobody looks at again.
        self._waiting.append((time.time(), method, seconds, request_id, _outcome(reply)))
        if len(self._waiting) > MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what waits; the logging system calls this when the process ends, too.

        Where nobody reads the stream any more, the lines are lost and the requests are not. No more are
        written at once than a pipe takes whole, so that the lines of several processes do not mix and one
        that is killed leaves no half of a line; only a line that is longer itself, of some hundred
        results with their chances, may meet that.
        """
        with self.lock or threading.Lock():
            lines, size = list[str](), 0
            while self._waiting:
                line = self._line(*self._waiting.popleft())
                if lines and size + len(line) > PIPE_BUF:
                    self._write(lines)
                    lines, size = [], 0
                lines.append(line)
                size += len(line)
            self._write(lines)

    def _write(self, lines: Sequence[str]) -> None:
        with suppress(OSError, ValueError):  # a broken pipe, a closed file
            self.stream.write("".join(lines))
            super().flush()

    def _line(self, at: float, method: str, seconds: float, request_id: str, outcome: str) -> str:
        return (
            f'{{"time": "{_second(int(at))}.{int(at % 1 * 1000):03}+00:00", "level": "info", '
            f'"event": "request", {self._worker}"method": "{method}", "code": "OK", '
            f'"ms": {1e3 * seconds:.3f}, "request_id": "{request_id}", {outcome}}}\n'
        )

    def _flush_for_ever(self) -> None:
        while True:
            time.sleep(FLUSH_S)
            if self._waiting:
                self.flush()


def _outcome(reply: LoggedReply) -> str:
    """The fields of a line that say what a reply came to."""
    outcome = f'"generation": "{reply.generation_id}", "results": {reply.results}'
    if reply.requests is not None:
        outcome += f', "requests": {reply.requests}'
    if reply.chances:
        outcome += f', "exploration": {json.dumps([each._asdict() for each in reply.chances])}'
    if reply.trials:
        outcome += f', "experiments": {json.dumps([each._asdict() for each in reply.trials])}'
    return outcome


@lru_cache(2)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
