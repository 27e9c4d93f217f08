"""One server process: a port, what answers there, and an orderly end.

The first line on standard output is one JSON object that names the port, so that
programs can start a server on port 0 and find it.
"""

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc

from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.follower import Follower
from deepmoviematch.server.host.address import announce, authority, check_free, forget, taken, withdraw
from deepmoviematch.server.host.door import Door
from deepmoviematch.server.host.health import Health
from deepmoviematch.server.host.keys import Keys
from deepmoviematch.server.host.observers import all_of, new_metrics, new_traces
from deepmoviematch.server.host.options import ServeOptions, stops
from deepmoviematch.server.host.pool import Pool
from deepmoviematch.server.host.reflection import Reflection
from deepmoviematch.server.rpc.handlers import Observer, handlers
from deepmoviematch.server.rpc.service import SERVICE, RecommenderService
from deepmoviematch.server.rpc.tokens import KEY_BYTES, Tokens, read_key
from deepmoviematch.server.telemetry.logs import log_event

MAX_REQUEST_BYTES = 4 << 20
MAX_STREAMS = 1000
"""Calls at once over one connection."""

CONNECTION_GRACE_S = 30.0
"""How long the calls of an old connection get to end."""

LEAVE_S = 0.5
"""How long after the news of the end calls are answered still: callers who heed health leave meanwhile."""

SETTLE_S = 0.1
"""How long the last answers get to leave the machine; large ones are waited for until gRPC has sent them."""

TURN_S = 0.0002
"""Python's switch interval: how long a load or an explanation may keep a step of a call waiting."""

NEW_OBJECTS = 20_000
"""Allocations between two runs of the cyclic garbage collector. Requests and generations leave no cycles and
are freed at once; the default of 700 cost 3 % of a call.
"""

_STEP_S = 0.01

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wiring:
    """A server that is not started yet, and what belongs to it."""

    server: grpc.Server
    health: Health
    door: Door
    pool: Pool
    port: int

    def start(self) -> None:
        """Begin to answer."""
        self.pool.start(self.server)

    def stop(self) -> None:
        """End at once, and every call with it."""
        self.health.end()
        self.server.stop(None).wait()
        self.pool.shutdown()

    def drain(self, grace_s: float) -> None:
        """Take leave: health first, then no more calls, then wait for those in flight and their replies.

        The server itself is not stopped, for that would end as CANCELLED what arrives in
        that very moment. Its end is the process's: whatever is cut off then is UNAVAILABLE.
        """
        self.health.end()
        time.sleep(min(LEAVE_S, grace_s))
        self.door.close()
        deadline = time.monotonic() + grace_s
        # In this order, as a reply is known before its call no longer runs.
        while (not self.pool.idle() or self.pool.untaken) and time.monotonic() < deadline:
            time.sleep(_STEP_S)
        time.sleep(SETTLE_S)


def create_server(
    current: Current,
    options: ServeOptions,
    *,
    health: Health | None = None,
    keys: Keys | None = None,
    credentials: grpc.ServerCredentials | None = None,
    tokens: Tokens | None = None,
    observe: Observer | None = None,
    clock: Callable[[], float] = time.process_time,
) -> Wiring:
    """Wire up a server over `current`; its health is NOT_SERVING until told otherwise.

    Args:
        current: What answers.
        options: How to serve; where there are several workers, they share the port. Files are not read.
        health: Says what is served; None makes one.
        keys: Who may call; None lets everybody in.
        credentials: For TLS; None speaks in the clear.
        tokens: Seals page tokens; None does so with a key that nobody else has.
        observe: Told of every call; see `handlers`.
        clock: Tells seconds of processor time; see `Pool`.

    Raises:
        ServeError: If the address cannot be had.
    """
    if options.port and options.workers == 1:
        check_free(options.host, options.port)
    pool: Any = Pool(options.threads, clock=clock)
    server = grpc.server(
        pool,
        options=[
            ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            # Unshared, else a second server on the port would quietly take half of the calls.
            ("grpc.so_reuseport", int(options.workers > 1)),
            ("grpc.max_connection_age_ms", round(1e3 * options.connection_s)),
            ("grpc.max_connection_age_grace_ms", round(1e3 * CONNECTION_GRACE_S)),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    servicer = RecommenderService(current, tokens or Tokens(), keeps=options.kept_replies)
    door = Door(handlers(servicer, SERVICE, pool.late, observe), pool, keys)
    health = health or Health()
    server.add_generic_rpc_handlers((door,))
    health.join(server)
    if not options.production:
        server.add_generic_rpc_handlers((Reflection().handler(),))
    address = authority(options.host, options.port)
    try:
        if credentials is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        pool.shutdown()
        raise taken(options.host, options.port) from error
    return Wiring(server, health, door, pool, bound)


def serve(options: ServeOptions, *, worker: int | None = None) -> Wiring:
    """Serve until one of `stops`, then drain: health first, calls in flight after.

    The caller has blocked these signals in every thread there is, and ends the process next, at once.

    Args:
        options: How to serve.
        worker: Which this is of several processes, which share a port; it finds the key for page
            tokens on its standard input then, and ends with it. None is the only one.

    Returns:
        The server, to be held until the process is gone: freed, it ends as CANCELLED what still arrives.

    Raises:
        ServeError: If the store is none, the address cannot be had, the port's file cannot be written,
            or keys or certificates are no good.
    """
    _work_uninterrupted()
    sys.setswitchinterval(TURN_S)
    gc.freeze()  # what there is now lasts as long as the process, and need not be looked through
    gc.set_threshold(NEW_OBJECTS)
    options.check_paths()
    keys = None if options.api_keys is None else Keys(options.api_keys, workers=options.workers)
    credentials = None
    if options.tls_cert is not None and options.tls_key is not None:
        from deepmoviematch.server.host.tls import server_credentials  # noqa: PLC0415 - takes its time to load

        credentials = server_credentials(options.tls_cert, options.tls_key, options.tls_client_ca)
    tokens = Tokens(read_key(options.page_token_key) if worker is None else os.read(0, KEY_BYTES))
    if worker is not None:
        threading.Thread(target=_stop_with_standard_input, daemon=True).start()
    current, health = Current(options.store), Health()
    metrics = None if options.metrics_port is None else new_metrics()
    traces = new_traces(current) if options.traces else None
    follower = Follower(options.store, current, on_ready=health.serve)
    # Before there is a port, so that the first call finds an answer.
    follower.poll()
    if current.generation_id is None and not follower.refusals:
        log_event(log, logging.WARNING, "no generation yet", {"store": str(options.store)})
    wiring = create_server(
        current,
        options,
        health=health,
        keys=keys,
        credentials=credentials,
        tokens=tokens,
        observe=all_of([each.observe for each in (metrics, traces) if each is not None]),
        # Loading a generation takes turns with the calls: they wait for it, but are not too many for that.
        clock=lambda: time.process_time() - follower.thread_s(),
    )
    if metrics is not None and options.metrics_port is not None:
        port = options.metrics_port + (worker or 0)
        metrics.tell(options.host, port, current=current, follower=follower, door=wiring.door)
    port_file = options.port_file if worker is None else None
    forget(port_file)  # not before, as a server that cannot have its address must leave another's file alone
    wiring.start()
    follower.start()
    announce(options.host, wiring.port, port_file)
    awaited = stops()
    signal.sigwait(awaited)
    for number in awaited:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, awaited)  # a second one kills at once
    wiring.drain(options.grace_s)
    withdraw(wiring.port, port_file)
    if traces is not None:
        traces.end()
    return wiring


def _work_uninterrupted() -> None:
    """Have no thread of this process interrupt another as it wakes up, where the system lets us.

    A thread of gRPC's wakes for every message that arrives. Interrupted each time, a batch of answers
    loses what it had in the cache; let be, it finds more calls waiting at its end. It saves some 8 % of
    a call. On cores that are busy with other work a call may wait a little longer for its turn.
    """
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _stop_with_standard_input() -> None:
    """Stop this process once nobody holds the other end of standard input any more."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
