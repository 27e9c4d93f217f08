"""How to serve."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deepmoviematch.server.errors import ServeError

LONGEST_CONNECTION_S = 2_147_483
"""The most that gRPC can tell apart from forever: it counts in milliseconds, of 31 bits."""


def stops() -> set[signal.Signals]:
    """The signals that ask a server to stop; the end of its terminal does, unless `nohup` had it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return {signal.SIGTERM, signal.SIGINT} | (set() if ignored else {signal.SIGHUP})


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How to serve, by the names of the command line's flags, whose defaults these are."""

    store: Path
    """Folder of the store; it may be empty yet."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every one of the machine's."""

    port: int = 50051
    """0 takes a free one."""

    port_file: Path | None = None
    """Where to write the port once the server listens; the file is removed when it starts and ends."""

    workers: int = 1
    """Processes that share the port."""

    threads: int = 2
    """Requests that one process works on at once."""

    kept_replies: int = 10_000
    """Replies to have at hand for whoever asks the same again, 1 KB each as a rule; 0 for none."""

    connection_s: float = 300.0
    """How long a connection may last before its client is asked to make a new one."""

    grace_s: float = 10.0
    """How long calls in flight may take once the process is asked to stop."""

    production: bool = False
    """Whether to keep to oneself what only those who develop need: no reflection."""

    api_keys: Path | None = None
    """File of the API keys, one of which every call must have then."""

    tls_cert: Path | None = None
    """PEM file for TLS; None speaks in the clear."""

    tls_key: Path | None = None
    """PEM file with the key of `tls_cert`."""

    tls_client_ca: Path | None = None
    """PEM file of authorities, one of which must vouch for every client then."""

    page_token_key: Path | None = None
    """File with the key for page tokens, for servers that are to understand each other's; None makes one."""

    metrics_port: int | None = None
    """Where to tell Prometheus how it goes; each worker takes the next port. None tells nobody."""

    traces: bool = False
    """Whether to send OpenTelemetry's collector a span of every call."""

    def __post_init__(self) -> None:
        """Refuse half of a pair, ports for metrics that there are not, and ages that are no use to gRPC."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ServeError("TLS needs both --tls-cert and --tls-key, got one")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ServeError("--tls-client-ca needs --tls-cert and --tls-key too, got neither")
        if not 1 <= self.connection_s <= LONGEST_CONNECTION_S:
            raise ServeError(
                f"--connection-s must be 1 to {LONGEST_CONNECTION_S} (24 days), got {self.connection_s:g}; "
                "name a time within that"
            )
        last = 65_536 - self.workers
        if self.metrics_port is not None and not 1 <= self.metrics_port <= last:
            raise ServeError(
                f"--metrics-port must be 1 to {last}, a port for each worker (workers: {self.workers}), "
                f"got {self.metrics_port}; name a port that is free"
            )

    def check_paths(self) -> None:
        """Refuse what is no store, and a file for the port that could not be written.

        Raises:
            ServeError: If the store is no folder or holds other things alone, or the file has none or is one.
        """
        if not self.store.is_dir():
            raise ServeError(f"the store must be a folder, got {self.store}; build one with the indexer")
        held: set[str] = set()
        with suppress(OSError):  # which who follows the store names
            held = {name for name in os.listdir(self.store) if not name.startswith(".")} - {"lost+found"}
        if held and not held & {"CURRENT", "generations"}:
            raise ServeError(
                f"the store must be empty or hold CURRENT and generations, got {min(held)} "
                f"in {self.store}; name a folder that the indexer wrote"
            )
        path = self.port_file
        if path is None:
            return
        if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise ServeError(
                f"--port-file must be a file in a folder that can be written to, got {path}; "
                "make the folder or name another file"
            )
