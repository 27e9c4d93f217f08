"""Certificates from files, as gRPC wants them."""

import ssl
from pathlib import Path

import grpc

from deepmoviematch.server.errors import ServeError


def server_credentials(certificate: Path, key: Path, client_ca: Path | None) -> grpc.ServerCredentials:
    """What a server shows, and whom it lets in.

    Args:
        certificate: PEM; the server's own first, then those that lead to its authority.
        key: PEM; of the server's certificate.
        client_ca: PEM; if given, every client must show a certificate of one of these authorities.

    Raises:
        ServeError: If a file cannot be read, or certificate and key do not belong together.
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password="")
        if client_ca is not None:
            context.load_verify_locations(client_ca)
        roots = None if client_ca is None else client_ca.read_bytes()
        pair = (key.read_bytes(), certificate.read_bytes())
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(map(str, filter(None, (certificate, key, client_ca))))
        raise ServeError(
            f"certificate and key must be PEM files of one pair, got {names}: {error}"
        ) from error
    return grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)
