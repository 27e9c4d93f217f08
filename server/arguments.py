"""The command line: `serve`, `query`, `recommend-all`, `demo`, `loadtest` and `key`.

Nothing heavy is imported here, so that `serve` starts without what only a client needs.
"""

import argparse
import math
from datetime import UTC, datetime
from pathlib import Path

PROGRAM = "python -m deepmoviematch.server"
DEFAULT_PORT = 50051
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Recommendations over gRPC.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="answer requests from the store's current generation"))
    _add_query(commands.add_parser("query", help="ask a running server"))
    _add_recommend_all(
        commands.add_parser("recommend-all", help="write the best items for every user of a data set")
    )
    demo = commands.add_parser("demo", help="start a server, ask it three questions, stop it")
    demo.add_argument("--store", type=Path, required=True, help="folder of the store")
    _add_loadtest(
        commands.add_parser("loadtest", help="ask a running server at a steady rate; check answers")
    )
    _add_key(commands.add_parser("key", help="make an API key for a caller"))
    return top


def _add_serve(command: argparse.ArgumentParser) -> None:
    command.add_argument("--store", type=Path, required=True, help="folder of the store; may be empty yet")
    command.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s; 0.0.0.0 for all)"
    )
    command.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="default: %(default)s; 0 takes a free one"
    )
    command.add_argument(
        "--port-file", type=Path, metavar="PATH", help="write the port to this file once the server listens"
    )
    command.add_argument(
        "--workers", type=_count, default=1, help="processes that share the port (default: %(default)s)"
    )
    command.add_argument("--worker", type=int, help=argparse.SUPPRESS)  # which of them this one is
    command.add_argument(
        "--threads",
        type=_count,
        default=2,
        help="requests that one process works on at once (default: %(default)s)",
    )
    command.add_argument(
        "--kept-replies",
        type=_amount,
        default=10_000,
        metavar="N",
        help="replies to have at hand for whoever asks the same again; 0 for none (default: %(default)s)",
    )
    command.add_argument(
        "--connection-s",
        type=_number,
        default=300.0,
        metavar="SECONDS",
        help="how long a connection may last before its client is asked to make a new one, which may "
        "reach another worker (default: %(default)g)",
    )
    command.add_argument(
        "--grace-s",
        type=_number,
        default=10.0,
        metavar="SECONDS",
        help="how long calls in flight may take after SIGTERM or SIGINT (default: %(default)g)",
    )
    command.add_argument(
        "--production", action="store_true", help="no reflection: callers must know the contract"
    )
    command.add_argument(
        "--api-keys", type=Path, metavar="FILE", help="let in only calls with one of these keys"
    )
    command.add_argument("--tls-cert", type=Path, metavar="PEM", help="speak TLS with this certificate")
    command.add_argument("--tls-key", type=Path, metavar="PEM", help="key of the certificate")
    command.add_argument(
        "--tls-client-ca",
        type=Path,
        metavar="PEM",
        help="let in only clients whose certificates these vouch for",
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
        type=_port,
        metavar="PORT",
        help="tell Prometheus how it goes, at /metrics; each further worker takes the next port",
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


def _add_reach(command: argparse.ArgumentParser) -> None:
    """How the clients reach a server."""
    command.add_argument(
        "--at",
        "--address",
        default=f"127.0.0.1:{DEFAULT_PORT}",
        metavar="HOST:PORT",
        help="the server (default: %(default)s)",
    )
    command.add_argument(
        "--tls-ca", type=Path, metavar="PEM", help="speak TLS with a server that these authorities vouch for"
    )
    command.add_argument("--api-key-file", type=Path, metavar="FILE", help="holds the API key to call with")


def _add_query(command: argparse.ArgumentParser) -> None:
    questions = command.add_subparsers(dest="question", required=True, metavar="QUESTION")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "-n", "--count", type=_count, default=10, help="how many results (default: %(default)s)"
    )
    common.add_argument("--json", action="store_true", help="print the response as JSON")
    _add_reach(common)
    paged = argparse.ArgumentParser(add_help=False)
    paged.add_argument(
        "--pages", type=_count, default=1, help="how many times so many results (default: %(default)s)"
    )
    choice = argparse.ArgumentParser(add_help=False)
    choice.add_argument("--exclude", action="append", default=[], metavar="ITEM", help="never return this")
    choice.add_argument(
        "--only", action="append", default=[], metavar="ITEM", help="choose among this and others named so"
    )
    choice.add_argument(
        "--filter",
        default="",
        metavar="CONDITIONS",
        help="choose among what satisfies these, as in 'genres:comedy year >= 1990 NOT title:\"part ii\"'; "
        "a field that does not exist is answered with those that do",
    )

    choice.add_argument(
        "--diversity", type=_share, default=0.0, metavar="0..1", help="results that differ from each other"
    )
    choice.add_argument(
        "--max-per-genre", type=_count, default=0, metavar="N", help="so many results of a genre at most"
    )
    choice.add_argument(
        "--novelty", type=_share, default=0.0, metavar="0..1", help="pass over what is popular"
    )
    choice.add_argument("--validate", action="store_true", help="say what would be done, without doing it")

    user = argparse.ArgumentParser(add_help=False)
    user.add_argument("--like", action="append", default=[], metavar="ITEM", help="the user likes this")
    user.add_argument(
        "--dislike",
        action="append",
        default=[],
        metavar="ITEM",
        help="the same as the lowest rating there is",
    )
    user.add_argument(
        "--rate",
        type=_assignment,
        action="append",
        default=[],
        metavar="ITEM=RATING",
        help="the user rated this, in the units of the data set",
    )
    user.add_argument(
        "--genre",
        type=_assignment,
        action="append",
        default=[],
        metavar="GENRE=STARS",
        help="what the user thinks of a genre, 0.5 to 5",
    )
    user.add_argument(
        "--hour", type=_hour, metavar="0..23", help="the user asks in this hour, by the clock of the data"
    )
    user.add_argument(
        "--weekday", choices=WEEKDAYS, metavar="DAY", help="the user asks on a day such as friday"
    )
    user.add_argument("--device", default="", help="the user looks at this, as the data name it")
    user.add_argument(
        "--next", action="store_true", help="ask what to take next: what is named later was taken later"
    )

    recommend = questions.add_parser(
        "recommend",
        parents=[common, paged, user, choice],
        help="the best items for a user",
        description="The best items for a user. An ITEM is an id or a title; options may be repeated.",
    )
    recommend.add_argument(
        "--explore", type=_share, default=0.0, metavar="SHARE", help="give this share of the places to chance"
    )
    recommend.add_argument("--seed", type=_seed, default=0, help="of chance (default: %(default)s)")
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


def _add_recommend_all(command: argparse.ArgumentParser) -> None:
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
        "-n", "--count", type=_count, default=10, help="items for each user (default: %(default)s)"
    )
    command.add_argument("--next", action="store_true", help="what to take next: the order of ratings counts")
    command.add_argument(
        "--as-of",
        type=_moment,
        metavar="TIME",
        help='leave out what was rated later: "1998-04-01" or "1998-04-01T12:00:00+02:00" (default: nothing)',
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


def _add_loadtest(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Ask a running server at a steady rate, whether it keeps up or not, and check every answer. "
        "Ends with status 1 if one was wrong, or if more calls failed or were refused than is allowed."
    )
    _add_reach(command)
    command.add_argument(
        "--data",
        type=Path,
        help="folder with the ratings.csv whose users to ask for (default: users made up of popular items)",
    )
    command.add_argument(
        "--rate", type=_positive, default=100.0, help="calls a second (default: %(default)g)"
    )
    command.add_argument(
        "--seconds", type=_positive, default=10.0, help="how long to ask (default: %(default)g)"
    )
    command.add_argument(
        "--connections", type=_count, default=4, help="to spread the calls over (default: %(default)s)"
    )
    command.add_argument(
        "--timeout-s",
        type=_positive,
        default=5.0,
        metavar="SECONDS",
        help="deadline of a call (default: %(default)g)",
    )
    command.add_argument("--seed", type=int, default=0, help="the same asks the same (default: %(default)s)")
    for what, meaning in (("failed", "end in an error"), ("refused", "be refused for overload")):
        command.add_argument(
            f"--allow-{what}",
            type=_share,
            default=0.0,
            metavar="SHARE",
            help=f"share of the calls that may {meaning} (default: %(default)g)",
        )
    command.add_argument("--png", type=Path, metavar="PATH", help="draw the latencies (needs matplotlib)")
    command.add_argument("--json", action="store_true", help="print the summary as JSON")


def _add_key(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Make an API key for a caller, print it once, and add its hash to a file for serve --api-keys. "
        "A server reads the file when it starts."
    )
    command.add_argument("name", help="who will use it: letters, digits, - and _")
    command.add_argument("--api-keys", type=Path, required=True, metavar="FILE", help="made if it is missing")
    command.add_argument(
        "--calls-per-s",
        type=_positive,
        metavar="RATE",
        help="how often it may call (default: without a limit)",
    )


def _assignment(text: str) -> tuple[str, float]:
    name, equals, number = text.rpartition("=")
    value = _float(number)
    if not equals or not name.strip() or not math.isfinite(value):
        raise argparse.ArgumentTypeError(f'must be NAME=NUMBER such as "comedy=4.5", got {text!r}')
    return name.strip(), value


def _moment(text: str) -> int:
    """Seconds since 1970."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a date or a time as in ISO 8601, got {text!r}") from None
    return math.floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"must be 1 to 1000, got {text!r}")
    return int(text)


def _amount(text: str) -> int:
    if not text.isdecimal() or int(text) > 10_000_000:
        raise argparse.ArgumentTypeError(f"must be 0 to 10000000, got {text!r}")
    return int(text)


def _hour(text: str) -> int:
    if not text.isdecimal() or int(text) > 23:
        raise argparse.ArgumentTypeError(f"must be 0 to 23, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**64:
        raise argparse.ArgumentTypeError(f"must be 0 to {2**64 - 1}, got {text!r}")
    return int(text)


def _float(text: str) -> float:
    """The number that `text` says, or NaN, which is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _number(text: str) -> float:
    value = _float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of 0 or more, got {text!r}")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text!r}")
    return value


def _share(text: str) -> float:
    value = _float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be 0 to 1, got {text!r}")
    return value
