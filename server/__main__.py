"""Runs the command line; what the user can cure is one line on standard error and exit status 1."""

import io
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.server.arguments import parser
from deepmoviematch.server.errors import RecommendAllError


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line (`words`, or the process's own) and return the exit status."""
    words = sys.argv[1:] if words is None else words
    arguments = parser().parse_args(words, Namespace(words=words))
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it has to say comes as our errors
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may lack a title's letters
    try:
        _COMMANDS[arguments.command](arguments)
    except (MovieMatchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


# Each command imports what it needs: serving must not load what only clients use.


def _serve(arguments: Namespace) -> None:
    # Requests run on threads of our own; libraries that start more only get in their way.
    _keep_libraries_on_one_thread()
    from deepmoviematch.server.host.options import ServeOptions  # noqa: PLC0415
    from deepmoviematch.server.telemetry import logs  # noqa: PLC0415

    logs.configure(arguments.log_level, arguments.log_format, worker=arguments.worker)
    options = ServeOptions(
        store=arguments.store,
        host=arguments.host,
        port=arguments.port,
        port_file=arguments.port_file,
        workers=arguments.workers,
        threads=arguments.threads,
        kept_replies=arguments.kept_replies,
        connection_s=arguments.connection_s,
        grace_s=arguments.grace_s,
        production=arguments.production,
        keys=arguments.api_keys,
        certificate=arguments.tls_cert,
        certificate_key=arguments.tls_key,
        client_ca=arguments.tls_client_ca,
        page_token_key=arguments.page_token_key,
        metrics_port=arguments.metrics_port,
        traces=arguments.traces,
    )
    if arguments.workers > 1 and arguments.worker is None:
        from deepmoviematch.server.host.workers import Supervisor  # noqa: PLC0415

        Supervisor(options, arguments.words).run()
        return
    from deepmoviematch.server.host import process  # noqa: PLC0415

    process.serve(options, worker=arguments.worker)
    # With no goodbye from gRPC, which would end what has just arrived as CANCELLED.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _query(arguments: Namespace) -> None:
    from deepmoviematch.server.tools import query  # noqa: PLC0415

    query.run(arguments)


def _recommend_all(arguments: Namespace) -> None:
    _keep_libraries_on_one_thread()  # more could give other bits
    try:
        from deepmoviematch.server.tools import everyone  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RecommendAllError(
            f"reading data and writing Parquet need {error.name}, which is missing; "
            "install deepmoviematch[train]"
        ) from error
    everyone.run(arguments)


def _demo(arguments: Namespace) -> None:
    from deepmoviematch.server.tools import demo  # noqa: PLC0415

    demo.run(arguments.store)


def _loadtest(arguments: Namespace) -> None:
    from deepmoviematch.server.tools import loadtest  # noqa: PLC0415

    loadtest.run(arguments)


def _key(arguments: Namespace) -> None:
    from deepmoviematch.server.host import keys  # noqa: PLC0415

    print(keys.add(arguments.api_keys, arguments.name, arguments.calls_per_s))


_COMMANDS = {
    "serve": _serve,
    "query": _query,
    "recommend-all": _recommend_all,
    "demo": _demo,
    "loadtest": _loadtest,
    "key": _key,
}


def _keep_libraries_on_one_thread() -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


if __name__ == "__main__":
    sys.exit(main())
