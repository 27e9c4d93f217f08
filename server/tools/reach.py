"""How the command line's clients reach a server: address, certificates, key."""

import re
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import grpc

from deepmoviematch.server.errors import QueryError

CURE = "start one (make serve) or say --at, and --tls-ca and --tls-cert if it wants them"
"""What to do where no server answers."""


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
            QueryError: If a file cannot be read, or does not hold what it should.
        """
        if (arguments.tls_cert is None) != (arguments.tls_key is None):
            raise QueryError(
                "a certificate must come with its key, got one alone; say --tls-cert and --tls-key"
            )
        files = [_read(path) for path in (arguments.tls_ca, arguments.tls_key, arguments.tls_cert)]
        in_the_clear = all(contents is None for contents in files)
        credentials = None if in_the_clear else grpc.ssl_channel_credentials(*files)
        return cls(arguments.at, credentials, _key(arguments.api_key_file))

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        return () if self.api_key is None else (("x-api-key", self.api_key),)


def _key(path: Path | None) -> str | None:
    contents = _read(path)
    if contents is None:
        return None
    key = contents.strip()
    if not re.fullmatch(rb"[!-~]+", key):
        raise QueryError(
            f"{path} must hold one API key of printable ASCII without blanks, got {len(key)} other bytes"
        )
    return key.decode()


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise QueryError(f"{path} must be readable, got {error}") from error
