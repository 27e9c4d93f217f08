"""Requests whose bytes are no message of their type.

gRPC would call them INTERNAL, as if the server were to blame. Here they come to the
handler as a `Malformed`, whose error says what was expected.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message

from deepmoviematch.server.errors import InvalidRequestError, Violation


@dataclass(frozen=True)
class Malformed:
    """Stands for such a request."""

    expected: str
    """Name of the message that it is not."""

    def error(self) -> InvalidRequestError:
        """What to end the call with."""
        return InvalidRequestError([Violation("request", f"must be a {self.expected} message")])


def lenient(message: type[Message]) -> Callable[[bytes], Any]:
    """Reads a `message`, or gives `Malformed`."""

    def read(contents: bytes) -> Any:
        try:
            return message.FromString(contents)
        except DecodeError:
            return Malformed(message.DESCRIPTOR.name)

    return read
