"""Whose a port is, the file that names it, and who may remove that."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from deepmoviematch.server.errors import ServeError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.host.address import announce, check_free, forget, reserve, withdraw
from deepmoviematch.server.host.options import ServeOptions
from deepmoviematch.server.host.process import create_server


@pytest.fixture
def port_file(tmp_path: Path) -> Path:
    return tmp_path / "port"


def test_what_was_announced_is_withdrawn(port_file: Path) -> None:
    announce("127.0.0.1", 50051, port_file)
    assert port_file.read_text() == "50051\n"
    withdraw(50051, port_file)
    withdraw(50051, port_file)
    assert not port_file.exists()


def test_the_port_of_the_next_server_stays(port_file: Path) -> None:
    announce("127.0.0.1", 50051, port_file)
    announce("127.0.0.1", 50052, port_file)
    withdraw(50051, port_file)
    assert port_file.read_text() == "50052\n"


def test_only_a_file_is_forgotten(port_file: Path) -> None:
    forget(port_file)
    forget(None)
    port_file.write_text("50051\n")
    forget(port_file)
    assert not port_file.exists()
    os.mkfifo(port_file)  # whoever reads it would wait
    forget(port_file)
    withdraw(50051, port_file)
    assert port_file.is_fifo()


of_linux = pytest.mark.skipif(sys.platform != "linux", reason="others have one loopback address")


def resolved(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every name stand for these addresses."""

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        families = [socket.AF_INET6 if ":" in each else socket.AF_INET for each in addresses]
        return [
            (family, socket.SOCK_STREAM, 6, "", (each, port, 0, 0)[: 2 if family == socket.AF_INET else 4])
            for family, each in zip(families, addresses, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@of_linux
@pytest.mark.parametrize("addresses", [("127.0.0.2", "127.0.0.3"), ("127.0.0.3", "127.0.0.2")])
def test_a_port_must_be_free_at_every_address_of_a_name(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    resolved(monkeypatch, *addresses)
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServeError, match=f"must be free and of this machine, got both:{port}"):
            create_server(Current(), ServeOptions(store=Path(), host="both", port=port))
        with pytest.raises(ServeError, match="must be free"):
            reserve("both", port).__enter__()
    check_free("both", port)


@of_linux
def test_a_port_is_held_at_every_address_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, "127.0.0.2", "127.0.0.3")
    with reserve("both", 0) as port:
        for address in ("127.0.0.2", "127.0.0.3"):
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind((address, port))


def test_addresses_that_this_machine_has_not_are_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, "2001:db8::1", "127.0.0.1", "192.0.2.1")
    with reserve("some", 0) as port, pytest.raises(OSError, match="in use"), socket.socket() as other:
        other.bind(("127.0.0.1", port))
    check_free("some", port)
