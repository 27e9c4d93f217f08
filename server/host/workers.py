"""Several server processes on one port, and the one that keeps them alive.

The supervisor holds the port without listening, so that the kernel spreads connections
over the workers, which listen. It answers no calls and never loads gRPC, so that each
worker starts clean: threads and a fork do not go together.
"""

import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from deepmoviematch.server.errors import ServeError
from deepmoviematch.server.host.address import announce, forget, reserve, withdraw
from deepmoviematch.server.host.options import ServeOptions, stops
from deepmoviematch.server.rpc.tokens import read_key
from deepmoviematch.server.telemetry.logs import log_event

STOP_S = 5.0
"""How much longer than its grace a worker may take to end before it is killed."""

STEADY_S = 10.0
"""A worker that lived so long is replaced at once, one that did not after a pause."""

PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Before the first, second, ... replacement in a row."""

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Worker:
    """One place among the workers, and the process that fills it at the moment."""

    number: int
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    due_at: float = 0.0
    """When to start the next process, if there is none."""

    failures: int = 0
    """Processes in a row that did not live long."""

    listens: bool = False


class Supervisor:
    """Starts workers, replaces those that die, and stops them all."""

    def __init__(self, options: ServeOptions, words: Sequence[str]) -> None:
        """Take what the workers need.

        Args:
            options: How to serve.
            words: The command line that asked for it, from `serve` on.
        """
        self._options = options
        self._words = words
        self._workers = [_Worker(number) for number in range(options.workers)]
        self._selector = selectors.DefaultSelector()
        self._port = options.port
        self._page_token_key = read_key(options.page_token_key)
        self._announced = self._stopping = False
        self._kill_at = float("inf")

    def run(self) -> None:
        """Serve until one of `stops`, then drain every worker; a second signal kills them.

        Raises:
            ServeError: If the store is missing, the address cannot be had, the port's file
                cannot be written or a worker ends before all of them listened.
        """
        self._options.check_paths()
        with reserve(self._options.host, self._options.port) as self._port:
            forget(self._options.port_file)
            self._watch_signals()
            try:
                while not self._stopping or any(worker.process for worker in self._workers):
                    self._step()
            finally:
                self._signal(signal.SIGKILL)
                for worker in self._workers:
                    if worker.process is not None:
                        worker.process.wait()
                withdraw(self._port, self._options.port_file)

    def _step(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.process is None and now >= worker.due_at and not self._stopping:
                self._start(worker)
        if now >= self._kill_at:
            self._signal(signal.SIGKILL)
        due = [worker.due_at for worker in self._workers if worker.process is None and not self._stopping]
        for key, _ in self._selector.select(min([*due, self._kill_at, now + 60]) - now):
            if key.data is None:
                self._obey(os.read(key.fd, 4096))
            else:
                self._hear(*key.data)
        for worker in self._workers:
            if worker.process is not None and worker.process.poll() is not None:
                self._bury(worker, worker.process)

    def _start(self, worker: _Worker) -> None:
        words = [*self._words, "--port", str(self._port), "--worker", str(worker.number)]
        try:
            worker.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "deepmoviematch.server", *words],
                # Brings the key; its end tells a worker that nobody looks after it any more.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,  # a terminal's ^C is for the supervisor to pass on
            )
        except OSError as error:  # no memory, no more processes: the other workers serve on
            found = f"one that cannot be started: {error}"
            self._replace(worker, found, "worker not started", {"error": str(error)})
            return
        with suppress(BrokenPipeError):  # it died at once, and will be buried
            os.write(_to(worker.process).fileno(), self._page_token_key)
        worker.started_at, worker.listens = time.monotonic(), False
        self._selector.register(_said(worker.process), selectors.EVENT_READ, (worker, worker.process))

    def _hear(self, worker: _Worker, process: "subprocess.Popen[bytes]") -> None:
        """A worker says one thing, once: that it listens."""
        self._selector.unregister(_said(process))
        if not os.read(_said(process).fileno(), 4096):
            return
        worker.listens = True
        log_event(log, logging.INFO, "worker listens", {"worker": worker.number, "pid": process.pid})
        if not self._announced and all(each.listens for each in self._workers):
            self._announced = True
            announce(self._options.host, self._port, self._options.port_file)

    def _bury(self, worker: _Worker, process: "subprocess.Popen[bytes]") -> None:
        worker.process = None
        if _said(process).fileno() in self._selector.get_map():
            self._selector.unregister(_said(process))
        process.communicate()  # which closes the pipes
        if self._stopping:
            return
        if time.monotonic() - worker.started_at >= STEADY_S:
            worker.failures = 0
        facts = {"pid": process.pid, "status": process.returncode}
        found = f"one that ended with {process.returncode}; its reason is above"
        self._replace(worker, found, "worker ended", facts)

    def _replace(self, worker: _Worker, found: str, event: str, facts: Mapping[str, object]) -> None:
        """Fill the place again after a pause; give up if there never was a whole set of workers."""
        if not self._announced:
            raise ServeError(f"every worker must start, got {found}")
        worker.failures += 1
        pause_s = PAUSES_S[min(worker.failures, len(PAUSES_S)) - 1]
        worker.due_at = time.monotonic() + pause_s
        facts = {"worker": worker.number, **facts, "restart_in_s": pause_s}
        log_event(log, logging.ERROR, event, facts)

    def _watch_signals(self) -> None:
        """Have `stops` and SIGCHLD wake the selector."""
        woken, wakes = os.pipe()
        for end in (woken, wakes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakes)
        for number in (*stops(), signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(woken, selectors.EVENT_READ)

    def _obey(self, numbers: bytes) -> None:
        for number in numbers:
            if number != signal.SIGCHLD:
                self._signal(signal.SIGKILL if self._stopping else signal.SIGTERM)
                self._stopping = True
                self._kill_at = min(self._kill_at, time.monotonic() + self._options.grace_s + STOP_S)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.process is not None:
                worker.process.send_signal(number)


def _to(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    """The pipe to which a worker listens."""
    assert process.stdin is not None  # noqa: S101 - it was asked for
    return process.stdin


def _said(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    """The pipe on which a worker speaks."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    return process.stdout
