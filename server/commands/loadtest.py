"""`loadtest`: ask a running server at a steady rate."""

from argparse import Namespace
from pathlib import Path

from deepmoviematch.server.commands.reach import add_reach
from deepmoviematch.server.commands.types import Subparsers, count, positive, seed, share


def add(commands: Subparsers) -> None:
    """Add it to the command line."""
    command = commands.add_parser("loadtest", help="ask a running server at a steady rate; check answers")
    command.description = (
        "Ask a running server at a steady rate, whether it keeps up or not, and check every answer. "
        "Ends with status 1 if one was wrong, or if more calls failed or were refused than is allowed."
    )
    add_reach(command)
    command.add_argument(
        "--data",
        type=Path,
        help="folder with the ratings.csv whose users to ask for (default: users made up of popular items)",
    )
    command.add_argument("--rate", type=positive, default=100.0, help="calls a second (default: %(default)g)")
    command.add_argument(
        "--seconds", type=positive, default=10.0, help="how long to ask (default: %(default)g)"
    )
    command.add_argument(
        "--connections", type=count, default=4, help="to spread the calls over (default: %(default)s)"
    )
    command.add_argument(
        "--timeout-s",
        type=positive,
        default=5.0,
        metavar="SECONDS",
        help="deadline of a call (default: %(default)g)",
    )
    command.add_argument("--seed", type=seed, default=0, help="the same asks the same (default: %(default)s)")
    for what, meaning in (("failed", "end in an error"), ("refused", "be refused for overload")):
        command.add_argument(
            f"--allow-{what}",
            type=share,
            default=0.0,
            metavar="SHARE",
            help=f"share of the calls that may {meaning} (default: %(default)g)",
        )
    command.add_argument("--png", type=Path, metavar="PATH", help="draw the latencies (needs matplotlib)")
    command.add_argument("--json", action="store_true", help="print the summary as JSON")
    command.set_defaults(run=run)


def run(arguments: Namespace) -> None:
    """Ask, and print what came of it.

    Raises:
        LoadTestError: If the test cannot begin, or found what it looks for.
    """
    from deepmoviematch.server.tools import loadtest  # noqa: PLC0415

    loadtest.run(arguments)
