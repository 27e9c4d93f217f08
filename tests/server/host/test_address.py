"""The file that names a server's port, and who may remove it."""

import os
from pathlib import Path

import pytest

from deepmoviematch.server.host.address import announce, forget, withdraw


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
