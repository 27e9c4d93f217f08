"""A caller who speaks HTTP/2 by hand, and so takes as much of a reply as it likes."""

import socket
import struct
from types import TracebackType
from typing import NamedTuple

WAIT_S = 10

DATA, HEADERS, RESET, SETTINGS, WINDOW = 0, 1, 3, 4, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_INITIAL_WINDOW_SIZE = 4


class Frame(NamedTuple):
    """What the server said."""

    kind: int
    stream: int
    ends: bool
    contents: bytes


class Caller:
    """A connection that takes no byte of any reply until it says so."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._socket = socket.create_connection((host, int(port)), WAIT_S)
        self._received = self._socket.makefile("rb")
        self._next = 1
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._send(SETTINGS, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, 0))

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._received.close()
        self._socket.close()

    def ask(self, path: str, message: bytes) -> int:
        """Make a unary call; returns its stream."""
        stream, self._next = self._next, self._next + 2
        headers = {
            **{":method": "POST", ":scheme": "http", ":path": path, ":authority": "test"},
            **{"te": "trailers", "content-type": "application/grpc"},
        }
        block = b"".join(
            b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in header)
            for header in headers.items()
        )
        self._send(HEADERS, stream, block, flags=_END_HEADERS)
        self._send(DATA, stream, b"\0" + struct.pack(">I", len(message)) + message, flags=_END_STREAM)
        return stream

    def take(self, stream: int, size: int = 1 << 30) -> None:
        """Make room for so many bytes more of a reply."""
        for each in (0, stream):
            self._send(WINDOW, each, struct.pack(">I", size))

    def hear(self) -> Frame:
        """The next frame that is of a call."""
        while True:
            head = self._received.read(9)
            size, kind, flags, stream = int.from_bytes(head[:3]), head[3], head[4], int.from_bytes(head[5:])
            contents = self._received.read(size)
            if kind == SETTINGS and not flags & _ACK:
                self._send(SETTINGS, 0, b"", flags=_ACK)
            if stream and kind != WINDOW:
                return Frame(kind, stream, kind in (DATA, HEADERS) and bool(flags & _END_STREAM), contents)

    def _send(self, kind: int, stream: int, contents: bytes, *, flags: int = 0) -> None:
        head = len(contents).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream)
        self._socket.sendall(head + contents)
