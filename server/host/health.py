"""The standard health service: what is served, and when that ends.

gRPC's own servicer sends to its watchers while it holds its lock, which gRPC's thread
needs in order to take leave of a watcher: a client that goes away at the wrong moment
stops the whole server. Here whoever changes the health waits for nobody.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

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

_Send: TypeAlias = Callable[[health_pb2.HealthCheckResponse | None], None]


class Health(health_pb2_grpc.HealthServicer):
    """Answers `Check` and `Watch`; every service has the same status."""

    def __init__(self) -> None:
        self._status: int = NOT_SERVING
        self._ended = False
        self._watchers: set[_Watcher] = set()
        self._lock = threading.Lock()  # never held while something is sent
        self._senders = ThreadPoolExecutor(8, thread_name_prefix="health")

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
        watcher = _Watcher(send, knows=request.service in SERVICES)
        with self._lock:
            if context.add_callback(lambda: self._watchers.discard(watcher)):
                self._watchers.add(watcher)
            watcher.tell(self._status, last=self._ended)
        self._senders.submit(watcher.send)

    # gRPC's own way not to hold a thread for as long as a stream lasts.
    Watch.experimental_non_blocking = True  # type: ignore[attr-defined]

    def join(self, server: grpc.Server) -> None:
        """Have a server answer, which is not started yet.

        Methods that are registered have queues of their own in gRPC's core, so whoever asks how it goes
        neither waits with a flood of other calls nor is dropped with them.
        """
        read, write = lenient(health_pb2.HealthCheckRequest), health_pb2.HealthCheckResponse.SerializeToString
        handlers: Any = {
            "Check": grpc.unary_unary_rpc_method_handler(self.Check, read, write),
            "Watch": grpc.unary_stream_rpc_method_handler(self.Watch, read, write),
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
        sending = [self._senders.submit(watcher.send) for watcher in watchers]
        if last:
            wait(sending, END_S)


class _Watcher:
    """One stream, and what it should be told next."""

    def __init__(self, send: _Send, *, knows: bool) -> None:
        self._send = send
        self._knows = knows
        self._told: int | None = None
        self._news: int = SERVICE_UNKNOWN
        self._last = self._over = False
        self._lock = threading.Lock()

    def tell(self, status: int, *, last: bool) -> None:
        """Have the next `send` say so."""
        self._news = status if self._knows else SERVICE_UNKNOWN
        self._last = last

    def send(self) -> None:
        """Send what is news to the watcher, which may take its time."""
        with self._lock:
            news, last = self._news, self._last
            if news != self._told and not self._over:
                self._told = news
                self._send(health_pb2.HealthCheckResponse(status=news))
            if last and not self._over:
                self._over = True
                self._send(None)
