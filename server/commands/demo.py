"""`demo`: show what the server answers."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from deepmoviematch.server.commands import query
from deepmoviematch.server.commands.types import Subparsers
from deepmoviematch.server.program import PROGRAM


def add(commands: Subparsers) -> None:
    """Add it to the command line."""
    command = commands.add_parser("demo", help="start a server, ask it three questions, stop it")
    command.add_argument("--store", type=Path, required=True, help="folder of the store")
    command.set_defaults(run=run)


def run(arguments: Namespace) -> None:
    """Start a server, ask it and stop it.

    Raises:
        MovieMatchError: If there is nothing to serve, or the server does not start or answer.
    """
    from deepmoviematch.server.tools import demo  # noqa: PLC0415

    demo.run(arguments.store, _query)


def _query(words: Sequence[str]) -> None:
    """Run `query` with these words after it."""
    parser = ArgumentParser(prog=PROGRAM)
    query.add(parser.add_subparsers())
    query.run(parser.parse_args(["query", *words]))
