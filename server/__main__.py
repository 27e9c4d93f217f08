"""Runs the command line; what the user can cure is one line on standard error and exit status 1.

Each command imports what it needs when it runs: serving must not load what only clients use.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from deepmoviematch.data.program import exit_status
from deepmoviematch.server.commands import demo, key, loadtest, query, recommend_all, serve
from deepmoviematch.server.program import PROGRAM


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; None for those of the process.

    Returns:
        See `exit_status`.
    """
    words = sys.argv[1:] if arguments is None else arguments
    chosen = parser().parse_args(words, Namespace(words=words))
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it has to say comes as our errors
    return exit_status(lambda: chosen.run(chosen), extra="serve")


def parser() -> ArgumentParser:
    """The parser of the whole command line."""
    top = ArgumentParser(prog=PROGRAM, description="Recommendations over gRPC.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in (serve, query, recommend_all, demo, loadtest, key):
        command.add(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())
