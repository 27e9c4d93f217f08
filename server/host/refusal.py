"""Ends calls of any kind unread, for as little as gRPC allows, and counts them."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.server.errors import OverloadedError, RateError, StoppingError, UnknownCallerError
from deepmoviematch.server.host.call import Ending
from deepmoviematch.server.rpc.status import REASONS
from deepmoviematch.server.telemetry.logs import log_event
from deepmoviematch.server.telemetry.request_ids import HEADER, request_id

REPORT_S = 1.0
"""The log has a line of refusals at most so often; it counts all that there were so far."""

log = logging.getLogger(__name__)


class Refusals:
    """Counts the calls that were refused unread or have made room for others, and has the log say so."""

    def __init__(self) -> None:
        errors = (OverloadedError, StoppingError, UnknownCallerError, RateError)
        self.counts = {REASONS[error]: 0 for error in errors}
        """Why -> calls."""
        self._reported_at = float("-inf")
        self._lock = threading.Lock()

    def count(self, error: type[MovieMatchError]) -> None:
        """Count one that was refused for an error of this type."""
        with self._lock:
            self.counts[REASONS[error]] += 1
            now = time.monotonic()
            if now - self._reported_at < REPORT_S:
                return
            self._reported_at = now
            counts = {reason: count for reason, count in self.counts.items() if count}
        log_event(log, logging.WARNING, "calls refused", {"in_all": counts})


def refusing(told: Ending) -> Any:
    """A handler that ends every call as `told`, whatever its type, without reading its request.

    Where `arrival.start` started the server that is all that happens. To gRPC the handler takes a stream,
    of which it reads nothing, and returns a stream, which it ends: on the wire that looks like a unary call.
    """

    def refuse(_requests: object, context: grpc.ServicerContext, send: Callable[[None], None]) -> None:
        context.set_code(told.code)
        context.set_details(told.details)
        context.set_trailing_metadata(told.trailing_metadata)
        send(None)

    # gRPC's own way to run a handler on another thread, and to answer from it without one.
    vars(refuse).update(experimental_non_blocking=True, experimental_thread_pool=_HERE)
    handler: Any = grpc.stream_stream_rpc_method_handler(refuse)
    handler.ending = told
    return handler


def ending(status: status_pb2.Status) -> Ending:
    """The end of a call with `status`."""
    told: Any = rpc_status.to_status(status)
    return Ending(told.code, told.details, told.trailing_metadata)


def named(told: Ending, metadata: Any) -> Ending:
    """The same, with the name that the caller's `metadata` give the call, if they do."""
    name, wanted = request_id(metadata, always=False)
    return told._replace(trailing_metadata=(*told.trailing_metadata, (HEADER, name))) if wanted else told


class _Here(ThreadPoolExecutor):
    """Runs what it is given at once, on the thread that asks."""

    def submit(self, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> Any:
        fn(*args, **kwargs)


_HERE = _Here(1)
