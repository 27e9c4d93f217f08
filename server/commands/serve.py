"""`serve`: answer requests."""

import logging
import os
import signal
from argparse import SUPPRESS, Namespace
from dataclasses import fields
from pathlib import Path

from deepmoviematch.server.commands.libraries import keep_to_one_thread
from deepmoviematch.server.commands.types import Subparsers, amount, count, number, port
from deepmoviematch.server.host.options import ServeOptions, stops


def add(commands: Subparsers) -> None:
    """Add it to the command line."""
    command = commands.add_parser("serve", help="answer requests from the store's current generation")
    command.add_argument("--store", type=Path, required=True, help="folder of the store; may be empty yet")
    command.add_argument(
        "--host",
        default=ServeOptions.host,
        help="address to listen on (default: %(default)s; 0.0.0.0 for all)",
    )
    command.add_argument(
        "--port",
        type=port,
        default=ServeOptions.port,
        help="port to listen on; 0 picks a free one (default: %(default)s)",
    )
    command.add_argument(
        "--port-file",
        type=Path,
        metavar="PATH",
        help="write the port to this file once the server listens, and remove the file when it ends",
    )
    command.add_argument(
        "--workers",
        type=count,
        default=ServeOptions.workers,
        help="processes that share the port (default: %(default)s)",
    )
    command.add_argument("--worker", type=int, help=SUPPRESS)  # which of them this one is
    command.add_argument(
        "--threads",
        type=count,
        default=ServeOptions.threads,
        help="requests that one process works on at once (default: %(default)s)",
    )
    command.add_argument(
        "--kept-replies",
        type=amount,
        default=ServeOptions.kept_replies,
        metavar="N",
        help="replies cached for byte-identical requests; 0 disables the cache (default: %(default)s)",
    )
    command.add_argument(
        "--connection-s",
        type=number,
        default=ServeOptions.connection_s,
        metavar="SECONDS",
        help="maximum age of a connection; its client then makes a new one, which may reach another worker "
        "(default: %(default)g)",
    )
    command.add_argument(
        "--grace-s",
        type=number,
        default=ServeOptions.grace_s,
        metavar="SECONDS",
        help="how long calls in flight may take after SIGTERM, SIGINT or SIGHUP (default: %(default)g)",
    )
    command.add_argument("--production", action="store_true", help="disable server reflection")
    command.add_argument(
        "--api-keys",
        type=Path,
        metavar="FILE",
        help="TOML file of API keys; calls without one of them are UNAUTHENTICATED",
    )
    command.add_argument("--tls-cert", type=Path, metavar="PEM", help="server certificate chain; enables TLS")
    command.add_argument("--tls-key", type=Path, metavar="PEM", help="private key of the certificate")
    command.add_argument(
        "--tls-client-ca",
        type=Path,
        metavar="PEM",
        help="require client certificates signed by these CAs (mTLS)",
    )
    command.add_argument(
        "--page-token-key",
        type=Path,
        metavar="FILE",
        help="32 random bytes or more to seal page tokens with, for servers that stand in for each other or "
        "are restarted (default: new ones with every start)",
    )
    command.add_argument(
        "--metrics-port",
        type=port,
        metavar="PORT",
        help="serve Prometheus metrics at /metrics; worker N, counted from 0, uses PORT+N",
    )
    command.add_argument(
        "--traces",
        action="store_true",
        help="send a span of every call over OTLP, to OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    levels = ("debug", "info", "warning", "error")
    command.add_argument("--log-level", choices=levels, default="info", help="default: %(default)s")
    command.add_argument(
        "--log-format", choices=("json", "text"), default="json", help="default: %(default)s"
    )
    command.set_defaults(run=run)


def run(arguments: Namespace) -> None:
    """Serve until a signal says to stop, and end the process.

    Raises:
        ServeError: If the server cannot start.
    """
    supervises = arguments.workers > 1 and arguments.worker is None
    if not supervises:
        # Before there are other threads, one of which would be killed by them; the server waits for them.
        signal.pthread_sigmask(signal.SIG_BLOCK, stops())
    # Requests run on threads of our own; libraries that start more only get in their way.
    keep_to_one_thread()
    from deepmoviematch.server.telemetry import logs  # noqa: PLC0415

    logs.configure(arguments.log_level, arguments.log_format, worker=arguments.worker)
    options = ServeOptions(**{field.name: getattr(arguments, field.name) for field in fields(ServeOptions)})
    if supervises:
        from deepmoviematch.server.host.workers import Supervisor  # noqa: PLC0415

        Supervisor(options, arguments.words).run()
        return
    from deepmoviematch.server.host import process  # noqa: PLC0415

    _held = process.serve(options, worker=arguments.worker)
    # With no goodbye from gRPC, which would end what has just arrived as CANCELLED.
    logging.shutdown()
    os._exit(0)
