"""Where a server listens: its address as text, reserved for several processes, made known and withdrawn.

No gRPC here: the supervisor of several workers uses this and never loads it.
"""

import json
import os
import socket
from contextlib import suppress
from pathlib import Path

from deepmoviematch.server.errors import ServeError


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


def reserve(host: str, port: int) -> socket.socket:
    """Hold an address for the workers that will share it.

    The socket that is returned never listens, so that no connection goes to it; while
    it is open, only processes of this user that ask to share the port can have it.

    Args:
        host: A name or address of this machine.
        port: 0 takes a free one; `getsockname()[1]` of what is returned tells which.

    Raises:
        ServeError: If the address cannot be had, or somebody has it already.
    """
    held: list[socket.socket] = []
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # A port can be shared with a stranger too, so the first socket makes sure that there is none.
        for shares in (False, True):
            held.append(socket.socket(family, kind, protocol))
            held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
            held[-1].bind(address)
            if not shares:
                held[-1].listen()
                address = held[-1].getsockname()
                held.pop().close()
    except (OSError, UnicodeError) as error:
        for each in held:
            each.close()
        raise taken(host, port) from error
    return held[0]


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
