"""Answers as tables for people."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepmoviematch.server.tools.lookup import plain, titled
from deepmoviematch.v1 import recommender_pb2 as pb

SHOWN_PARTS = 6
"""Parts of an explanation that are drawn, the largest."""

TOLD_GAP = 0.005
"""From where on a table says how far an explanation's parts are from the score together."""

PLAIN_WIDTH = 100
"""Columns of a line where standard output is no terminal."""


class _Console(Console):
    """Shows texts, which may come from anybody, and lets none of them command the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(plain(text), **options)


def console() -> Console:
    """Standard output; titles are printed as they are, even "[REC]" and ":D"."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return _Console(width=width, markup=False, emoji=False, highlight=False)


def print_headline(out: Console, metadata: pb.ResponseMetadata, missing: Sequence[str]) -> None:
    """Print what an answer comes from, and what became of its last page if it was to be of a style."""
    out.print(_headline(metadata, missing), soft_wrap=True)
    if metadata.HasField("relevance_paid"):
        out.print(
            f"intra-list diversity {metadata.intra_list_diversity:z.3f}, "
            f"relevance paid {metadata.relevance_paid:z.3f}, mean popularity {metadata.mean_popularity:.3f}",
            soft_wrap=True,
        )


def print_plan(out: Console, plan: pb.Plan) -> None:
    """Print what would be done."""
    out.print(f"{plan.candidates} candidates; {plan.reordered} of them to reorder", soft_wrap=True)
    for note in plan.notes:
        out.print(f"- {note}", soft_wrap=True)


def print_results(out: Console, results: Sequence[pb.Recommendation]) -> None:
    """Print items, best first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("title", overflow="fold", ratio=3)
    table.add_column("year", justify="right", no_wrap=True)
    table.add_column("genres", overflow="fold", ratio=2)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("id", overflow="fold")
    rated = any(item.HasField("predicted_rating") for item in results)
    if rated:
        table.add_column("rating", justify="right", no_wrap=True)
    explored = any(item.propensity for item in results)
    if explored:
        table.add_column("by chance", justify="right", no_wrap=True)
    for item in results:
        year = str(item.year) if item.year else ""
        genres = ", ".join(item.genres)
        given = item.source == pb.SOURCE_EXPLORATION
        chance = [f"{'* ' if given else ''}{item.propensity:.3g}"] if explored else []
        rating = [f"{item.predicted_rating:z.1f}"] if rated else []
        row = (str(item.rank), item.title, year, genres, f"{item.score:z.3f}", item.item_id)
        table.add_row(*row, *rating, *chance)
    _print_table(out, table, otherwise="nothing found")


def print_genres(out: Console, place: pb.EmbedUserResponse, count: int) -> None:
    """Print what the vector comes from, then the `count` nearest genres, each with a bar."""
    parts = [f"generation {place.metadata.generation_id}", f"a vector of {place.dimension} numbers"]
    if place.metadata.cold_start:
        parts.append("nothing is known of this user: this is where everyone starts from")
    if place.missing_item_ids:
        parts.append(f"unknown ids: {', '.join(place.missing_item_ids)}")
    out.print("; ".join(parts), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("genre", overflow="fold")
    table.add_column("cosine", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for genre in place.nearest_genres[:count]:
        table.add_row(genre.genre, f"{genre.cosine:+.3f}", bar(genre.cosine, 1))
    _print_table(out, table, otherwise="no genre has a direction")


def print_explanations(out: Console, results: Iterable[pb.Recommendation]) -> None:
    """Print for each explained item what moved its score, with a bar for each part."""
    for item in results:
        why = item.explanation
        if not item.HasField("explanation"):
            continue
        out.print(f"{item.rank}. {titled(item)}: {why.sentence}")
        parts = [(part.title or part.item_id, part.contribution) for part in why.history]
        parts += [(part.genre, part.contribution) for part in why.genres]
        parts += [(f"the {part.feature}", part.contribution) for part in why.context]
        if not parts:
            continue
        parts.sort(key=lambda part: -abs(part[1]))
        shown, rest = parts[:SHOWN_PARTS], sum(part for _, part in parts[SHOWN_PARTS:])
        rows = [
            ("what anyone gets", why.baseline_score),
            *sorted(shown, key=lambda part: -part[1]),
            *([("all the rest", rest + why.other_contributions)] if len(parts) > len(shown) else []),
            *([("not told apart", why.gap)] if abs(why.gap) >= TOLD_GAP else []),
        ]
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=36)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        longest = max(abs(part) for _, part in rows)
        for name, part in rows:
            table.add_row(f"   {name}", f"{part:+.3f}", bar(part, longest))
        table.add_row("   score", f"{why.score:+.3f}")
        out.print(table)
        if likeness := _likeness(why):
            out.print("   " + "; ".join(likeness))
        out.print()


def _print_table(out: Console, table: Table, *, otherwise: str) -> None:
    """Print a table, or, if it has no rows, what to say then."""
    if table.row_count:
        out.print(table)
    else:
        out.print(otherwise, end="\n\n")


def _likeness(why: pb.Explanation) -> list[str]:
    said = []
    if why.HasField("nearest_like"):
        name = why.nearest_like.title or why.nearest_like.item_id
        said.append(f"most like {name} of what is liked (cosine {why.nearest_like.cosine:.2f})")
    if why.shared_genres:
        said.append(f"shares {', '.join(why.shared_genres)}")
    return said


def bar(value: float, largest: float, width: int = 24) -> str:
    """A bar for `value`, of half the width for `largest`; it goes to the left where `value` is negative."""
    length = round(width / 2 * min(1, abs(value) / largest)) if largest else 0
    left, right = (length, 0) if value < 0 else (0, length)
    return f"{'█' * left:>{width // 2}}│{'█' * right}"


def _headline(metadata: pb.ResponseMetadata, missing: Sequence[str]) -> str:
    parts = [f"generation {metadata.generation_id}"]
    if metadata.variant:
        parts.append(f"variant {metadata.variant}")
    if metadata.cold_start:
        parts.append("cold start: nothing is known of this user, so these are the popular items")
    if metadata.filtered_out:
        parts.append(f"{metadata.filtered_out} kept out")
    if metadata.exhausted:
        parts.append("nothing is left")
    if missing:
        parts.append(f"unknown ids: {', '.join(missing)}")
    return "; ".join(parts)
