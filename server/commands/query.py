"""`query`: ask a running server, as people do."""

from argparse import ArgumentParser, Namespace

from deepmoviematch.server.commands.reach import add_reach
from deepmoviematch.server.commands.types import (
    Subparsers,
    Told,
    count,
    dislike,
    genre,
    hour,
    rating,
    seed,
    share,
)

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def add(commands: Subparsers) -> None:
    """Add it to the command line."""
    command = commands.add_parser("query", help="ask a running server")
    questions = command.add_subparsers(dest="question", required=True, metavar="QUESTION")
    common, paged, user, choice = _common(), _paged(), _user(), _choice()
    recommend = questions.add_parser(
        "recommend",
        parents=[common, paged, user, choice],
        help="the best items for a user",
        description="The best items for a user. An ITEM is an id or a title; options may be repeated.",
    )
    recommend.add_argument(
        "--explore", type=share, default=0.0, metavar="SHARE", help="share of positions to randomise"
    )
    recommend.add_argument("--seed", type=seed, default=0, help="of chance (default: %(default)s)")
    recommend.add_argument(
        "--experiment", default="", metavar="NAME", help="the user takes part in this; needs --user-id"
    )
    recommend.add_argument("--user-id", default="", metavar="ID", help="decides the experiment's variant")
    recommend.add_argument("--include-history", action="store_true", help="return liked and rated items too")
    recommend.add_argument("--explain", action="store_true", help="say of each result what moved its score")

    similar = questions.add_parser(
        "similar",
        parents=[common, paged, choice],
        help="the items nearest to one or more items",
        description="The items nearest to one or more items. An ITEM is an id or a title.",
    )
    similar.add_argument("item", nargs="+", metavar="ITEM", help="be near to this")
    similar.add_argument(
        "--unlike", action="append", default=[], metavar="ITEM", help="be far from this; may be repeated"
    )
    questions.add_parser(
        "taste",
        parents=[common, user],
        help="the genres nearest to a user; with --json the vector too",
        description="The genres nearest to a user, and with --json the user's vector. "
        "An ITEM is an id or a title; options may be repeated.",
    )
    find = questions.add_parser("find", parents=[common, paged], help="items by title")
    find.add_argument("title", metavar="TITLE", help="a title, words of it, or an id")
    command.set_defaults(run=run)


def run(arguments: Namespace) -> None:
    """Ask, and print the answer.

    Raises:
        QueryError: If there is no answer.
    """
    from deepmoviematch.server.tools import query  # noqa: PLC0415

    query.run(arguments)


def _common() -> ArgumentParser:
    """What every question takes."""
    options = ArgumentParser(add_help=False)
    options.add_argument(
        "-n", "--count", type=count, default=10, help="how many results (default: %(default)s)"
    )
    options.add_argument("--json", action="store_true", help="print the response as JSON")
    add_reach(options)
    return options


def _paged() -> ArgumentParser:
    """What those with a list for an answer take."""
    options = ArgumentParser(add_help=False)
    options.add_argument(
        "--pages", type=count, default=1, help="pages of --count results to fetch (default: %(default)s)"
    )
    return options


def _choice() -> ArgumentParser:
    """What is wanted of a list."""
    options = ArgumentParser(add_help=False)
    options.add_argument("--exclude", action="append", default=[], metavar="ITEM", help="never return this")
    options.add_argument(
        "--only", action="append", default=[], metavar="ITEM", help="restrict to these candidates; repeatable"
    )
    options.add_argument(
        "--filter",
        default="",
        metavar="CONDITIONS",
        help="choose among what satisfies these, as in 'genres:comedy year >= 1990 NOT title:\"part ii\"'; "
        "a field that does not exist is answered with those that do",
    )
    options.add_argument(
        "--diversity", type=share, default=0.0, metavar="0..1", help="results that differ from each other"
    )
    options.add_argument(
        "--max-per-genre", type=count, default=0, metavar="N", help="at most N results per genre"
    )
    options.add_argument(
        "--novelty", type=share, default=0.0, metavar="0..1", help="pass over what is popular"
    )
    options.add_argument(
        "--validate", action="store_true", help="dry run: check the request and print the plan"
    )
    return options


def _user() -> ArgumentParser:
    """Whom to ask for."""
    options = ArgumentParser(add_help=False)
    for option, kind, word, meaning in (
        ("--like", Told, "ITEM", "the user likes this"),
        ("--dislike", dislike, "ITEM", "the user dislikes this: sent as the lowest rating"),
        ("--rate", rating, "ITEM=RATING", "the user rated this, in the units of the data set"),
    ):
        options.add_argument(
            option, dest="told", type=kind, action="append", default=[], metavar=word, help=meaning
        )
    options.add_argument(
        "--genre",
        type=genre,
        action="append",
        default=[],
        metavar="GENRE=STARS",
        help="what the user thinks of a genre, 0.5 to 5",
    )
    options.add_argument(
        "--hour", type=hour, metavar="0..23", help="the user asks in this hour, by the clock of the data"
    )
    options.add_argument(
        "--weekday",
        type=str.lower,
        choices=WEEKDAYS,
        metavar="DAY",
        help="the user asks on a day such as friday",
    )
    options.add_argument("--device", default="", help="device the user is on, as the data name it (tv)")
    options.add_argument(
        "--next", action="store_true", help="ask what to take next: what is named later was taken later"
    )
    return options
