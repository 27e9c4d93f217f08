"""How to serve."""

from dataclasses import dataclass
from pathlib import Path

from .errors import ServeError


@dataclass(frozen=True, kw_only=True)
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

    workers: int = 1
    """Processes that share the port."""

    threads: int = 2
    """Requests that one process works on at once."""

    connection_s: float = 300.0
    """How long a connection may last before its client is asked to make a new one."""

    grace_s: float = 10.0
    """How long calls in flight may take once the process is asked to stop."""

    def check_store(self) -> None:
        """Refuse a store that is not there.

        Raises:
            ServeError: If it is no folder.
        """
        if not self.store.is_dir():
            raise ServeError(f"the store must be a folder, got {self.store}; build one with the indexer")
