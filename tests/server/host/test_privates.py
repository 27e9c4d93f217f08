"""Tests of what is known of grpcio's private names."""

from typing import Any

import pytest
from grpc import _server

from deepmoviematch.server.host import privates


def test_the_installed_grpc_has_what_it_takes() -> None:
    assert privates.SUPPORTED


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (_server, "_serve"),
        (_server, "_ServerStage"),
        (_server._RPCState, "due"),
        (_server._ServerState, "server_deallocated"),
        (_server._Server, "_state"),
    ],
)
def test_every_name_that_is_used_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    original = owner.__init__

    def make(self: Any, *words: Any) -> None:
        original(self, *words)
        del vars(self)[name]

    monkeypatch.delattr(owner, name, raising=False)
    if isinstance(owner, type):
        monkeypatch.setattr(owner, "__init__", make)
    assert not privates._is_supported()
