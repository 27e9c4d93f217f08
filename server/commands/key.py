"""`key`: make an API key."""

from argparse import Namespace
from functools import partial
from pathlib import Path

from deepmoviematch.server.commands.types import Subparsers, positive


def add(commands: Subparsers) -> None:
    """Add it to the command line."""
    command = commands.add_parser("key", help="make an API key for a caller")
    command.description = (
        "Make an API key for a caller, print it once, and add its hash to a file for serve --api-keys. "
        "A server reads the file when it starts."
    )
    command.add_argument("name", help="who will use it: at most 60 letters, digits, - and _")
    command.add_argument("--api-keys", type=Path, required=True, metavar="FILE", help="made if it is missing")
    command.add_argument(
        "--calls-per-s",
        type=positive,
        metavar="RATE",
        help="how often it may call; serve --workers N lets it make an N-th of that at each, after a "
        "second's worth at once, and a connection keeps to one worker (default: without a limit)",
    )
    command.set_defaults(run=run)


def run(arguments: Namespace) -> None:
    """Make it, and print it.

    Raises:
        ServeError: If the name or the file is no good.
    """
    from deepmoviematch.server.host import keys  # noqa: PLC0415

    keys.add(arguments.api_keys, arguments.name, arguments.calls_per_s, tell=partial(print, flush=True))
