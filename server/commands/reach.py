"""How the clients among the commands reach a server."""

from argparse import ArgumentParser
from pathlib import Path

from deepmoviematch.server.host.options import ServeOptions


def add_reach(command: ArgumentParser) -> None:
    """Add the options."""
    command.add_argument(
        "--at",
        "--address",
        default=f"{ServeOptions.host}:{ServeOptions.port}",
        metavar="HOST:PORT",
        help="the server (default: %(default)s)",
    )
    command.add_argument(
        "--tls-ca", type=Path, metavar="PEM", help="speak TLS with a server that these authorities vouch for"
    )
    command.add_argument(
        "--tls-cert", type=Path, metavar="PEM", help="certificate to show to a server that wants one"
    )
    command.add_argument("--tls-key", type=Path, metavar="PEM", help="the key of that certificate")
    command.add_argument("--api-key-file", type=Path, metavar="FILE", help="holds the API key to call with")
