"""Where a server listens: its address as text, reserved for several processes, made known and withdrawn.

No gRPC here: the supervisor of several workers uses this and never loads it.
"""

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from deepmoviematch.server.errors import ServeError

_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""What binding says of addresses that this machine does not have, such as IPv6's where there is none."""


def authority(host: str, port: int) -> str:
    """Host and port as one text; an IPv6 address gets its brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def taken(host: str, port: int) -> ServeError:
    """The error for an address that cannot be had."""
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter of a name that could be none
        return ServeError(
            "--host must be an address or a name of this machine, IPv6 without brackets, "
            f"got {host!r}: {error}"
        )
    return ServeError(
        f"the address must be free and of this machine, got {host}:{port}; "
        "stop what listens there or name another --port (0 takes a free one)"
    )


def check_free(host: str, port: int) -> None:
    """Refuse a port that somebody has at one of a host's addresses: gRPC is content with the others.

    Raises:
        ServeError: If it is taken, or no address is of this machine.
    """
    with _failing(host, port), ExitStack() as held:
        _bind(host, port, held, shares=False)


@contextmanager
def reserve(host: str, port: int) -> Iterator[int]:
    """Hold a port at all addresses of a host, for the workers that will share it, as a context.

    The sockets never listen, so that no connection goes to them; while they are open, only processes of this
    user that ask to share the port can have it.

    Args:
        host: A name or address of this machine.
        port: 0 takes a free one.

    Yields:
        The port.

    Raises:
        ServeError: If it cannot be had, or somebody has it already.
    """
    with ExitStack() as held:
        with _failing(host, port):
            # A port can be shared with a stranger too, so the first sockets make sure that there is none.
            with ExitStack() as alone:
                port = _bind(host, port, alone, shares=False)
            port = _bind(host, port, held, shares=True)
        yield port


def _bind(host: str, port: int, held: ExitStack, *, shares: bool) -> int:
    """Bind sockets to every address of a host that this machine has; returns their port."""
    bound = 0
    for family, kind, protocol, _, address in dict.fromkeys(
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    ):
        try:
            each = held.enter_context(socket.socket(family, kind, protocol))
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
            each.bind((address[0], bound or port, *address[2:]))
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            continue
        if not shares:
            each.listen()
        bound = each.getsockname()[1]
    if not bound:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return bound


@contextmanager
def _failing(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise taken(host, port) from error


def announce(host: str, port: int, port_file: Path | None) -> None:
    """Say where the server listens: the port in a file, and one line of JSON on standard output.

    Raises:
        ServeError: If the file cannot be written; nothing is said then.
    """
    if port_file is not None:
        partial = port_file.with_name(f"{port_file.name}.partial")
        try:
            partial.write_text(_line(port))
            os.replace(partial, port_file)  # whoever waits for the file never reads half of it
        except OSError as error:
            raise _unwritable(error) from error
    print(json.dumps({"event": "listening", "host": host, "port": port}), flush=True)


def forget(port_file: Path | None) -> None:
    """Remove a file that names the port of a server which is no more, as nobody should ask there.

    Raises:
        ServeError: If it cannot be removed.
    """
    try:
        if port_file is not None and port_file.is_file():
            port_file.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(error) from error


def withdraw(port: int, port_file: Path | None) -> None:
    """Undo what `announce` wrote, unless the file names another server's port by now."""
    with suppress(OSError, UnicodeError):
        if port_file is not None and port_file.is_file() and port_file.read_text() == _line(port):
            port_file.unlink()


def _line(port: int) -> str:
    return f"{port}\n"


def _unwritable(error: OSError) -> ServeError:
    return ServeError(f"--port-file must be writable, got {error}; name another file")
