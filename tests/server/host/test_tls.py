"""TLS and mutual TLS over a real socket, and a server that keeps to itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from deepmoviematch.client import CallError, Client, pb
from deepmoviematch.server.__main__ import main
from deepmoviematch.server.errors import ServeError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.host.tls import server_credentials
from deepmoviematch.server.ranking.recommender import Recommender

FILES = Path(__file__).parent / "certificates"
AUTHORITY = FILES / "authority.pem"


def of(name: str) -> tuple[Path, Path]:
    return FILES / f"{name}.pem", FILES / f"{name}.key"


def client_credentials(name: str | None = None) -> grpc.ChannelCredentials:
    if name is None:
        return grpc.ssl_channel_credentials(AUTHORITY.read_bytes())
    certificate, key = of(name)
    return grpc.ssl_channel_credentials(AUTHORITY.read_bytes(), key.read_bytes(), certificate.read_bytes())


@pytest.fixture
def current(recommender: Recommender) -> Current:
    current = Current()
    current.set(recommender)
    return current


def test_tls_keeps_the_clear_out(serve: Callable[..., Any], current: Current) -> None:
    with serve(current, credentials=server_credentials(*of("server"), None)) as running:
        with Client(running.address, credentials=client_credentials(), wait=False) as client:
            assert client.recommend(pb.RecommendRequest()).results
        with Client(running.address, wait=False, timeout_s=2.0) as client, pytest.raises(CallError):
            client.recommend(pb.RecommendRequest())


def test_mutual_tls_keeps_strangers_out(serve: Callable[..., Any], current: Current) -> None:
    with serve(current, credentials=server_credentials(*of("server"), AUTHORITY)) as running:
        with Client(running.address, credentials=client_credentials("client"), wait=False) as client:
            assert client.recommend(pb.RecommendRequest()).results
        with (
            Client(running.address, credentials=client_credentials(), wait=False, timeout_s=2.0) as client,
            pytest.raises(CallError),
        ):
            client.recommend(pb.RecommendRequest())


def test_the_command_line_speaks_tls(
    serve: Callable[..., Any], current: Current, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(current, credentials=server_credentials(*of("server"), None)) as running:
        words = ["query", "find", "heat", "--at", running.address, "--tls-ca", str(AUTHORITY), "--json"]
        assert main(words) == 0
    assert '"Heat"' in capsys.readouterr().out


def test_the_command_line_shows_its_certificate_to_a_server_that_wants_one(
    serve: Callable[..., Any], current: Current, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = of("client")
    with serve(current, credentials=server_credentials(*of("server"), AUTHORITY)) as running:
        words = ["query", "find", "heat", "--at", running.address, "--tls-ca", str(AUTHORITY), "--json"]
        assert main([*words, "--tls-cert", str(certificate), "--tls-key", str(key)]) == 0
        assert '"Heat"' in capsys.readouterr().out
        assert main([*words, "--tls-cert", str(certificate)]) == 1
        assert "a certificate must come with its key, got one alone" in capsys.readouterr().err


def test_the_command_line_speaks_in_the_clear_only_where_no_file_is_named(
    running: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = tmp_path / "empty.pem"
    nothing.touch()
    words = ["query", "find", "heat", "--at", running.address, "--json"]
    assert main(words) == 0
    assert '"Heat"' in capsys.readouterr().out
    assert main([*words, "--tls-ca", str(nothing)]) == 1
    assert "Heat" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("certificate", "key"),
    [("server.pem", "client.key"), ("none.pem", "server.key"), ("make.sh", "server.key")],
)
def test_files_that_are_no_pair_are_refused(certificate: str, key: str) -> None:
    with pytest.raises(ServeError, match=f"must be PEM files of one pair, got .*{certificate}, .*{key}"):
        server_credentials(FILES / certificate, FILES / key, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tls-cert", "x"], "TLS needs both --tls-cert and --tls-key"),
        (["--tls-client-ca", "x"], "--tls-client-ca needs --tls-cert and --tls-key"),
        (["--api-keys", "none.toml"], "none.toml must be a file of API keys"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    store: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["serve", "--store", str(store), "--port", "0", *words]) == 1
    assert message in capsys.readouterr().err


def test_in_production_there_is_no_reflection(serve: Callable[..., Any], current: Current) -> None:
    with serve(current, production=True) as running:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.ServerReflectionInfo(iter([request])))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
