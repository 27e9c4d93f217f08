"""Structured logs: one JSON object a line on standard error, one line a request.

A line says what was asked for, how it ended and by what name the caller knows the call, never
who asked nor what is known of them. Only `configure` touches the logging system, and only
programs call it.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from deepmoviematch.server.telemetry.access import AccessHandler, LoggedReply, outcome

log = logging.getLogger(__name__)


_access: AccessHandler | None = None
"""Takes the lines of answered requests, once programs are configured to have them."""


def configure(level: str, form: str, *, worker: int | None = None) -> None:
    """Send the logs of this process to standard error.

    Args:
        level: Lowest level to log, such as "info".
        form: "json" or "text".
        worker: Which of several processes this is; a fact of every line then.
    """
    global _access  # noqa: PLW0603 - as global as the logging system itself
    # Not through `sys.stderr`, whose lock a reader who stalls would keep until the process has ended.
    write = len if sys.stderr is None else partial(os.write, 2)
    handler = AccessHandler(write, worker)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    wanted = form == "json" and logging.getLevelName(level.upper()) <= logging.INFO
    _access = handler if wanted else None
    if worker is not None:
        handler.addFilter(lambda record: _add_fact(record, "worker", worker))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # It tells of each variant of itself that is not installed as if something had failed.
    logging.getLogger("faiss").setLevel(max(logging.WARNING, logging.getLogger().level))


def logs_answers() -> bool:
    """Whether requests are logged at all."""
    return log.isEnabledFor(logging.INFO)


def log_answer(method: str, code: str, seconds: float, reply: LoggedReply | None, request_id: str) -> None:
    """Log one request."""
    if _access is not None and code == "OK" and reply is not None:
        _access.answered(method, seconds, reply, request_id)
    elif logs_answers():
        facts: dict[str, Any] = {"method": method, "code": code, "ms": round(1e3 * seconds, 3)}
        facts["request_id"] = request_id
        if reply is not None:
            facts |= json.loads(f"{{{outcome(reply)}}}")
        log_event(log, logging.INFO, "request", facts)


def log_event(
    logger: logging.Logger,
    level: int,
    event: str,
    facts: Mapping[str, object],
    *,
    exc_info: bool | BaseException | None = None,
) -> None:
    """Log something with its facts as fields, and a traceback if there is one."""
    logger.log(level, event, exc_info=exc_info, extra={"facts": facts})


def _add_fact(record: logging.LogRecord, name: str, value: object) -> bool:
    record.facts = {name: value} | getattr(record, "facts", {})
    return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, event, then the facts."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """The same for people: time, level, event, facts as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        facts = [f"{key}={value}" for key, value in getattr(record, "facts", {}).items()]
        line = " ".join([clock, record.levelname.lower(), record.getMessage(), *facts])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
