"""The standard health service: what is served, and when that ends.

gRPC's own servicer sends to its watchers while it holds its lock, which gRPC's thread
needs in order to take leave of a watcher: a client that goes away at the wrong moment
stops the whole server. And it waits for each watcher to take what it sends, which one that makes
no room for it never does. Here whoever changes the health waits for nobody, and no watcher holds a thread.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deepmoviematch.server.host import call, privates
from deepmoviematch.server.rpc.malformed import Malformed, lenient
from deepmoviematch.server.rpc.service import NAME
from deepmoviematch.server.rpc.status import abort

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

HEALTH_NAME: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

SERVICES = ("", NAME)
"""What may be asked about; the empty name is the server as a whole."""

END_S = 0.5
"""How long the watchers get to take the news of the end."""

_STEP_S = 0.01

_Send: TypeAlias = Callable[[bytes, Callable[[], None]], None]
"""Sends a message; asks the second argument once that is taken, or never if the watcher has left."""


class Health(health_pb2_grpc.HealthServicer):
    """Answers `Check` and `Watch`; every service has the same status."""

    def __init__(self) -> None:
        self._status: int = NOT_SERVING
        self._ended = False
        self._watchers: set[_Watcher] = set()
        self._lock = threading.Lock()

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """See health.proto."""
        if isinstance(request, Malformed):
            abort(context, request.error())
        if request.service not in SERVICES:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return health_pb2.HealthCheckResponse()
        return health_pb2.HealthCheckResponse(status=self._status)

    def Watch(self, request: Any, context: grpc.ServicerContext, send: Any = None) -> Any:  # noqa: N802
        """See health.proto; gRPC passes what sends a response, and takes None for the end."""
        if isinstance(request, Malformed):
            abort(context, request.error())
        write = partial(call.send, context) if privates.SUPPORTED else partial(_send_apart, send)
        watcher = _Watcher(write, partial(send, None), knows=request.service in SERVICES)
        with self._lock:
            self._watchers.add(watcher)
            if not context.add_callback(partial(self._watchers.discard, watcher)):  # it has left
                self._watchers.discard(watcher)
            watcher.tell(self._status, last=self._ended)

    # gRPC's own way not to hold a thread for as long as a stream lasts.
    Watch.experimental_non_blocking = True  # type: ignore[attr-defined]

    # Neither waits for anything, so neither has to wait for a thread.
    Check.at_once = Watch.at_once = True  # type: ignore[attr-defined]

    def join(self, server: grpc.Server) -> None:
        """Have a server answer, which is not started yet.

        Methods that are registered have queues of their own in gRPC's core, and these are answered by the
        polling thread. So whoever asks how it goes neither waits with other calls, be they many or slow,
        nor is dropped with them.
        """
        read, write = lenient(health_pb2.HealthCheckRequest), health_pb2.HealthCheckResponse.SerializeToString
        handlers: Any = {
            "Check": grpc.unary_unary_rpc_method_handler(self.Check, read, write),
            "Watch": grpc.unary_stream_rpc_method_handler(self.Watch, read),  # which sends bytes
        }
        server.add_registered_method_handlers(HEALTH_NAME, handlers)

    def serve(self) -> None:
        """Say that requests are answered."""
        self._set(SERVING)

    def end(self) -> None:
        """Say for good that no more requests are taken, and end every watch."""
        self._set(NOT_SERVING, last=True)

    def _set(self, status: int, *, last: bool = False) -> None:
        with self._lock:
            if self._ended:
                return
            self._status, self._ended = status, last
            watchers = tuple(self._watchers)
            for watcher in watchers:
                watcher.tell(status, last=last)
        deadline = time.monotonic() + END_S
        while last and not all(each.over for each in watchers) and time.monotonic() < deadline:
            time.sleep(_STEP_S)


class _Watcher:
    """One stream, and what it should be told next."""

    def __init__(self, send: _Send, end: Callable[[], None], *, knows: bool) -> None:
        self._send, self._end = send, end
        self._knows = knows
        self._told: int | None = None
        self._news: int = SERVICE_UNKNOWN
        self._last = self._sending = False
        self.over = False
        """Whether it has taken the news of the end."""
        self._lock = threading.Lock()  # nobody waits for a watcher while holding it

    def tell(self, status: int, *, last: bool) -> None:
        """Have it know the status, as soon as it has taken what is on its way."""
        with self._lock:
            self._news = status if self._knows else SERVICE_UNKNOWN
            self._last = last
            self._go_on()

    def _taken(self) -> None:
        with self._lock:
            self._sending = False
            self._go_on()

    def _go_on(self) -> None:
        if self._sending or self.over:
            return
        if self._news != self._told:
            self._told, self._sending = self._news, True
            self._send(health_pb2.HealthCheckResponse(status=self._news).SerializeToString(), self._taken)
        elif self._last:
            self.over = True
            self._end()


def _send_apart(send: Callable[[bytes], None], contents: bytes, then: Callable[[], None]) -> None:
    """Send in gRPC's own way, which waits until a message is taken; on a thread of its own."""

    def wait() -> None:
        send(contents)
        then()

    threading.Thread(target=wait, name="health", daemon=True).start()
