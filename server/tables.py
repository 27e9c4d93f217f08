"""Answers as tables for people."""

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from deepmoviematch.v1 import recommender_pb2 as pb

PLAIN_WIDTH = 100
"""Columns of a line where standard output is no terminal."""


def console() -> Console:
    """Standard output; titles are printed as they are, even "[REC]" and ":D"."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(width=width, markup=False, emoji=False, highlight=False)


def print_results(
    out: Console, results: Iterable[pb.Recommendation], metadata: pb.ResponseMetadata, missing: Sequence[str]
) -> None:
    """Print what the answer comes from, then the items, best first."""
    out.print(_headline(metadata, missing), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("title", overflow="fold", ratio=3)
    table.add_column("year", justify="right", no_wrap=True)
    table.add_column("genres", overflow="fold", ratio=2)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("id", overflow="fold")
    for item in results:
        year = str(item.year) if item.year else ""
        genres = ", ".join(item.genres)
        table.add_row(str(item.rank), item.title, year, genres, f"{item.score:.3f}", item.item_id)
    out.print(table if table.row_count else "nothing found\n")


def _headline(metadata: pb.ResponseMetadata, missing: Sequence[str]) -> str:
    parts = [f"generation {metadata.generation_id}"]
    if metadata.cold_start:
        parts.append("cold start: nothing is known of this user, so these are the popular items")
    if metadata.filtered_out:
        parts.append(f"{metadata.filtered_out} kept out")
    if metadata.exhausted:
        parts.append("nothing is left")
    if missing:
        parts.append(f"unknown ids: {', '.join(missing)}")
    return "; ".join(parts)
