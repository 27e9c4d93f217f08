"""The server as a process: a port, health, reflection, and an orderly end.

The first line on standard output is one JSON object that names the port, so that
programs can start a server on port 0 and find it.
"""

import json
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from deepmoviematch.v1 import recommender_pb2_grpc as rpc

from .current import Current, Follower
from .errors import ServeError
from .service import NAME, RecommenderService
from .status import StatusInterceptor

MAX_REQUEST_BYTES = 4 << 20

_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.so_reuseport", 0),  # else a second server on the port would quietly take half of the calls
]


@dataclass(frozen=True)
class ServeOptions:
    """How to serve."""

    store: Path
    """Folder of the store; it may be empty yet."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every one of the machine's."""

    port: int = 50051
    """0 takes a free one."""

    port_file: Path | None = None
    """Where to write the port once the server listens."""

    threads: int = 8
    """Requests that are worked on at once."""

    grace_s: float = 10.0
    """How long calls in flight may take once the process is asked to stop."""


class Health(health.HealthServicer):
    """The standard health service, whose watchers do not hold up the end of the process."""

    def __init__(self) -> None:
        super().__init__()
        self._watchers: set[Callable[[health_pb2.HealthCheckResponse | None], None]] = set()
        self._set_all(health_pb2.HealthCheckResponse.NOT_SERVING)

    def Watch(self, request: Any, context: Any, send_response_callback: Any = None) -> Any:  # noqa: N802
        """See `health.HealthServicer`."""
        if context.add_callback(lambda: self._watchers.discard(send_response_callback)):
            self._watchers.add(send_response_callback)
        return super().Watch(request, context, send_response_callback)

    def serve(self) -> None:
        """Say that requests are answered."""
        self._set_all(health_pb2.HealthCheckResponse.SERVING)

    def end(self) -> None:
        """Say for good that no more requests are taken, and end every watch."""
        self.enter_graceful_shutdown()
        for end_watch in tuple(self._watchers):
            end_watch(None)

    def _set_all(self, status: int) -> None:
        for service in (health.OVERALL_HEALTH, NAME):
            self.set(service, status)


@dataclass(frozen=True)
class Wiring:
    """A server that is not started yet, and what belongs to it."""

    server: grpc.Server
    health: Health
    port: int


def create_server(current: Current, *, host: str = "127.0.0.1", port: int = 0, threads: int = 8) -> Wiring:
    """Wire up a server over `current`; its health is NOT_SERVING until told otherwise.

    Raises:
        ServeError: If the address cannot be had.
    """
    server = grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="rpc"),
        interceptors=[StatusInterceptor()],
        options=_OPTIONS,
    )
    rpc.add_RecommenderServiceServicer_to_server(RecommenderService(current), server)
    checks = Health()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        bound = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise ServeError(
            f"the address must be free and of this machine, got {host}:{port}; "
            "stop what listens there or name another --port (0 takes a free one)"
        ) from error
    return Wiring(server, checks, bound)


def serve(options: ServeOptions) -> None:
    """Serve until SIGTERM or SIGINT, then drain: health first, calls in flight after.

    Raises:
        ServeError: If the store is missing or the address cannot be had.
    """
    if not options.store.is_dir():
        raise ServeError(f"the store must be a folder, got {options.store}; build one with the indexer")
    stop = _stop_on_signals()
    current = Current()
    wiring = create_server(current, host=options.host, port=options.port, threads=options.threads)
    follower = Follower(options.store, current, on_ready=wiring.health.serve)
    follower.poll()  # a generation that is there already answers the first call
    wiring.server.start()
    follower.start()
    _announce(options, wiring.port)
    stop.wait()
    wiring.health.end()
    wiring.server.stop(options.grace_s).wait()
    follower.stop()


def _stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; a second signal kills at once."""
    stop = threading.Event()

    numbers = (signal.SIGTERM, signal.SIGINT)

    def ask_to_stop(_number: int, _frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in numbers:
        signal.signal(number, ask_to_stop)
    return stop


def _announce(options: ServeOptions, port: int) -> None:
    print(json.dumps({"event": "listening", "host": options.host, "port": port}), flush=True)
    if options.port_file is not None:
        partial = options.port_file.with_name(f"{options.port_file.name}.partial")
        partial.write_text(f"{port}\n")
        os.replace(partial, options.port_file)  # whoever waits for the file never reads half of it
