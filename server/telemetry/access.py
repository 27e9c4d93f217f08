"""Lines of a log that nobody waits for, and at a small price one for each answered request.

The logging system takes as long for a line as an answer takes to find. So the lines of answers are put
together here. Whoever logs leaves a line for the one thread that writes, many at once: a reader of the log
who stops reading stops nobody, and lines are lost instead.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from select import PIPE_BUF
from typing import Any, Protocol, TypeAlias

FLUSH_S = 0.2
"""How long a line may wait for others to be written with."""

END_S = 1.0
"""How long the last lines get to be written when the process ends."""

MOST_WAITING = 10_000
"""Lines; what comes then is lost, and the next line that is written counts it."""

MOST_LISTED = 100
"""Results left to chance, and requests that are part of experiments, that a line says more of: some KB."""

_STEP_S = 0.005

_Answer: TypeAlias = tuple[float, str, float, str, str]
"""Time, method, seconds, the name of the call, and what it came to as fields of JSON."""


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
        """What users got as part of experiments, in named tuples that JSON takes as dictionaries."""

    @property
    def chances(self) -> Sequence[Any]:
        """What was left to chance, in such tuples too; of each result `explored` and `propensities`."""


class AccessHandler(logging.Handler):
    """Writes records as their formatter has it, and the lines of answered requests, as JSON."""

    def __init__(self, write: Callable[[bytes], int], worker: int | None = None) -> None:
        """Write from a thread of its own.

        Args:
            write: Takes bytes of whole lines, waits as long as it likes, and returns how many it took; it
                raises OSError where nobody reads any more.
            worker: A fact of every answer's line, if there is one.
        """
        super().__init__()
        self._write = write
        self._worker = "" if worker is None else f'"worker": {worker}, '
        self._waiting: deque[str | _Answer] = deque()
        self._lost = 0
        self._losing = threading.Lock()
        self._wanted = threading.Event()
        self._writing = False
        threading.Thread(target=self._write_for_ever, name="log", daemon=True).start()

    def answered(self, method: str, seconds: float, reply: LoggedReply, request_id: str) -> None:
        """Log that a call of `method` was answered with `reply` after so many seconds.

        The id must be such as JSON takes as it is; see `request_ids`.
        """
        # Not the reply itself: the caches would be full of what nobody looks at again.
        self._leave((time.time(), method, seconds, request_id, outcome(reply)))

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`; the line is written at once, by another thread."""
        try:
            self._leave(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)
        self._wanted.set()

    def flush(self) -> None:
        """Wait until what there is has been written, for `END_S` at most; also asked at the process's end."""
        deadline = time.monotonic() + END_S
        self._wanted.set()
        while (self._waiting or self._writing) and time.monotonic() < deadline:
            time.sleep(_STEP_S)

    def _leave(self, line: str | _Answer) -> None:
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(line)
        else:
            self._lose(1)

    def _lose(self, lines: int) -> None:
        with self._losing:
            self._lost += lines

    def _write_for_ever(self) -> None:
        while True:
            self._wanted.wait(FLUSH_S)
            self._wanted.clear()
            self._writing = True  # before they count no longer as waiting
            self._write_all()
            self._writing = False

    def _write_all(self) -> None:
        """Write what waits, no more at once than a pipe takes whole.

        So the lines of several processes do not mix, and one that is killed leaves no half of a line; only
        a line that is longer itself, of a hundred requests in experiments, may meet that.
        """
        lines, size = list[bytes](), 0
        while self._waiting:
            left = self._waiting.popleft()
            line = _encoded(left if isinstance(left, str) else self._line(*left))
            if size + len(line) > PIPE_BUF:
                self._write_together(lines)
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        self._write_together(lines)

    def _write_together(self, lines: Sequence[bytes]) -> None:
        with self._losing:
            lost, self._lost = self._lost, 0
        if lost:
            facts = {"levelname": "WARNING", "msg": "log lines lost", "facts": {"lines": lost}}
            record = logging.makeLogRecord(facts)
            self.filter(record)
            self._write_or_lose(_encoded(f"{self.format(record)}\n"), lost)
        self._write_or_lose(b"".join(lines), len(lines))

    def _write_or_lose(self, contents: bytes, lines: int) -> None:
        try:
            while contents:
                contents = contents[self._write(contents) :]
        except OSError:  # a broken pipe
            self._lose(lines)

    def _line(self, at: float, method: str, seconds: float, request_id: str, came_to: str) -> str:
        return (
            f'{{"time": "{_second(int(at))}.{int(at % 1 * 1000):03}+00:00", "level": "info", '
            f'"event": "request", {self._worker}"method": "{method}", "code": "OK", '
            f'"ms": {1e3 * seconds:.3f}, "request_id": "{request_id}", {came_to}}}\n'
        )


def outcome(reply: LoggedReply) -> str:
    """What a reply came to, as fields of JSON: which generation, how many results, chances, trials."""
    fields = f'"generation": "{reply.generation_id}", "results": {reply.results}'
    if reply.requests is not None:
        fields += f', "requests": {reply.requests}'
    if reply.chances:
        listed = _listed(reply.chances)
        left_out = sum(len(each.explored) for each in reply.chances) - sum(
            len(each.explored) for each in listed
        )
        fields += _field("exploration", listed, left_out)
    if reply.trials:
        fields += _field("experiments", reply.trials[:MOST_LISTED], len(reply.trials) - MOST_LISTED)
    return fields


def _listed(chances: Sequence[Any]) -> list[Any]:
    """Those of the first results."""
    listed, left = [], MOST_LISTED
    for each in chances:
        if left <= 0:
            break
        listed.append(each._replace(explored=each.explored[:left], propensities=each.propensities[:left]))
        left -= len(each.explored)
    return listed


def _field(name: str, listed: Sequence[Any], left_out: int) -> str:
    field = f', "{name}": {json.dumps([each._asdict() for each in listed])}'
    return f'{field}, "{name}_left_out": {left_out}' if left_out > 0 else field


def _encoded(line: str) -> bytes:
    return line.encode(errors="backslashreplace")


@lru_cache(2)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
