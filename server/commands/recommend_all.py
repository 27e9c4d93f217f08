"""`recommend-all`: rank for every user of a data set."""

from argparse import Namespace
from pathlib import Path

from deepmoviematch.server.commands.libraries import keep_to_one_thread
from deepmoviematch.server.commands.types import Subparsers, count, moment
from deepmoviematch.server.errors import RecommendAllError


def add(commands: Subparsers) -> None:
    """Add it to the command line."""
    command = commands.add_parser("recommend-all", help="write the best items for every user of a data set")
    command.description = (
        "Write the best items for every user of a data set as Parquet: user_id, rank, item_id, score, "
        "generation_id and source, which is popularity for users without usable history. What a user "
        "rated is never among them. Every item is compared, and no server is needed."
    )
    command.add_argument("--store", type=Path, required=True, help="folder of the store")
    command.add_argument(
        "--data", type=Path, required=True, help="folder with the users' ratings, as for the trainer"
    )
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the table, in parts; new or empty"
    )
    command.add_argument(
        "-n", "--count", type=count, default=10, help="items for each user (default: %(default)s)"
    )
    command.add_argument("--next", action="store_true", help="what to take next: the order of ratings counts")
    command.add_argument(
        "--as-of",
        type=moment,
        metavar="TIME",
        help='leave out what was rated later: "1998-04-01T12:00:00+02:00", or "1998-04-01", which is the '
        "midnight that begins that day; without a zone in UTC (default: nothing)",
    )
    command.add_argument(
        "--filter", default="", metavar="CONDITIONS", help="choose among what satisfies these, as in query"
    )
    command.add_argument("--generation", metavar="ID", help="which generation (default: the current one)")
    command.add_argument(
        "--resume",
        action="store_true",
        help="go on with a table that was begun in DIR, and with its generation",
    )
    command.add_argument(
        "--lenient", action="store_true", help="drop and count ratings that break a rule, instead of refusing"
    )
    command.add_argument("--json", action="store_true", help="print the summary as JSON")
    command.set_defaults(run=run)


def run(arguments: Namespace) -> None:
    """Write the table.

    Raises:
        MovieMatchError: If a library is missing, or the data, the store or the folder are no good.
    """
    keep_to_one_thread()  # more could give other bits
    try:
        from deepmoviematch.server.tools import recommend_all  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RecommendAllError(
            f"reading data and writing Parquet need {error.name}, which is missing; "
            "install deepmoviematch[train]"
        ) from error
    recommend_all.run(arguments)
