"""How the command line's clients reach a server: address, certificates, key."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import grpc

from deepmoviematch.server.errors import QueryError


@dataclass(frozen=True)
class Reach:
    """What it takes to reach one server."""

    address: str
    """host:port."""

    credentials: grpc.ChannelCredentials | None = None
    """For TLS; None speaks in the clear."""

    api_key: str | None = None

    @classmethod
    def of(cls, arguments: Namespace) -> "Reach":
        """What the command line says.

        Raises:
            QueryError: If a file cannot be read.
        """
        authorities, key = _read(arguments.tls_ca), _read(arguments.api_key_file)
        return cls(
            arguments.at,
            None if authorities is None else grpc.ssl_channel_credentials(authorities),
            None if key is None else key.decode().strip(),
        )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        return () if self.api_key is None else (("x-api-key", self.api_key),)


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise QueryError(f"{path} must be readable, got {error}") from error
