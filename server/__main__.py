"""Runs the command line; what the user can cure is one line on standard error and exit status 1."""

import io
import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from deepmoviematch.data.errors import MovieMatchError

from .arguments import parser


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line (`words`, or the process's own) and return the exit status."""
    arguments = parser().parse_args(words)
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
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from . import logs, process  # noqa: PLC0415

    logs.configure(arguments.log_level, arguments.log_format)
    process.serve(
        process.ServeOptions(
            store=arguments.store,
            host=arguments.host,
            port=arguments.port,
            port_file=arguments.port_file,
            threads=arguments.threads,
            grace_s=arguments.grace_s,
        )
    )


def _query(arguments: Namespace) -> None:
    from . import query  # noqa: PLC0415

    query.run(arguments)


def _demo(arguments: Namespace) -> None:
    from . import demo  # noqa: PLC0415

    demo.run(arguments.store)


_COMMANDS = {"serve": _serve, "query": _query, "demo": _demo}

if __name__ == "__main__":
    sys.exit(main())
