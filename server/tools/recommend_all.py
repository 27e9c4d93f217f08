"""The best items for every user of a data set, as a Parquet table in parts.

Each user gets what `Recommend` would answer, bit for bit, where it searches exactly.
Nothing that serves imports this module: it reads data and writes Parquet, as the
trainer does. Memory holds the data and one part.
"""

import io
import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deepmoviematch.data.arrays import Floats, Ints, Longs
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.readers import read_and_tell
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.errors import FilterError, RecommendAllError
from deepmoviematch.server.ranking.question import Answer, Listing, Origin, Question, Taste
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.tools.parts import Counts, Parts

PART_ROWS = 100_000
"""Of a part, about."""

TOGETHER = 256
"""Users who are ranked at once."""

_SOURCES = {Origin.RETRIEVAL: 0, Origin.POPULARITY: 1}
_SOURCE_NAMES = pa.array(["retrieval", "popularity"])

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("rank", pa.int32()),  # from 1
        ("item_id", pa.string()),
        ("score", pa.float32()),  # as in the contract's Recommendation
        ("generation_id", pa.string()),
        ("source", pa.string()),  # "popularity" where nothing usable was known of the user
    ]
)


def run(arguments: Namespace) -> None:
    """Write what the command line asks for and say what came of it.

    Raises:
        MovieMatchError: If the data, the store or the folder to write to are no good.
    """
    dataset = read_and_tell(arguments.data, lenient=arguments.lenient)
    parts = Parts(arguments.out)
    begun = parts.asked() if arguments.resume else None
    wanted = arguments.generation or (begun["generation_id"] if begun else None)
    generation = Store(arguments.store).load(wanted)
    audience = Audience.of(dataset, generation, as_of=arguments.as_of)
    listing = Listing(arguments.count, allowed=_allowed(audience.recommender, arguments.filter))
    size = max(1, PART_ROWS // arguments.count)
    asked = {
        "generation_id": generation.id,
        "data_digest": dataset.digest,
        "count": arguments.count,
        "as_of": arguments.as_of,
        "filter": arguments.filter,
        "next": arguments.next,
        "users_per_part": size,
    }
    questions = partial(audience.questions, listing=listing, asks_next=arguments.next)
    with parts.alone():  # makes the folder, so what may be refused without it comes before
        parts.begin(asked, resume=arguments.resume)
        _write(parts, audience, questions, size)
    knows_order = generation.next_index is not generation.index
    summary = asked | {**parts.totals(), "unknown_ratings": audience.unknown, "knows_order": knows_order}
    summary["dropped"] = list(dataset.dropped)
    print(json.dumps(summary) if arguments.json else _told(summary, arguments))


@dataclass(frozen=True)
class Audience:
    """The users of a data set as one generation knows them."""

    recommender: Recommender

    user_ids: tuple[str, ...]

    offsets: Longs
    """[U + 1] where the history of each of U users begins, the oldest first."""

    items: Ints
    """[H] rows of the generation's catalogue."""

    stars: Floats
    """[H] what their user gave them."""

    unknown: int
    """Ratings left out, as their items are not in the catalogue."""

    @classmethod
    def of(cls, dataset: Dataset, generation: Generation, *, as_of: int | None = None) -> "Audience":
        """The users of `dataset`; items are matched by their ids.

        Args:
            dataset: Who rated what.
            generation: What ranks for them.
            as_of: Seconds since 1970, after which no rating is known; None knows all.

        Raises:
            RecommendAllError: If a rating is not on the generation's scale, or has no time but needs one.
        """
        # Every item is compared, however the generation serves.
        index, next_index = generation.index.exact, generation.next_index.exact
        recommender = Recommender(replace(generation, index=index, next_index=next_index))
        ratings, row_of = dataset.ratings, generation.catalogue.row_of
        off = (ratings.ratings < recommender.lowest) | (ratings.ratings > recommender.highest)
        if off.any():
            row = off.argmax()
            user_id = ratings.user_ids[ratings.users[row]]
            raise RecommendAllError(
                f"ratings must be {recommender.lowest:g} to {recommender.highest:g}, the scale of "
                f"{generation.id}, got {ratings.ratings[row]:g} by user {user_id}"
            )
        rows = np.array([row_of.get(item_id, -1) for item_id in dataset.catalogue.item_ids], dtype=np.int32)
        items = rows[ratings.items]
        present = np.ones(len(ratings), dtype=np.bool_)
        if as_of is not None:
            if ratings.timestamps is None:
                raise RecommendAllError("--as-of needs ratings with times, got a data set without any")
            present = ratings.timestamps <= as_of
        known = present & (items >= 0)
        return cls(
            recommender=recommender,
            user_ids=ratings.user_ids,
            offsets=np.concatenate([[0], np.cumsum(known)])[ratings.offsets],
            items=items[known],
            stars=generation.scale.stars(ratings.ratings)[known],
            unknown=int(np.count_nonzero(present & ~known)),
        )

    def questions(self, first: int, last: int, listing: Listing, *, asks_next: bool) -> list[Question]:
        """What users `first` to `last` - 1 ask: for the list, but nothing that they have rated."""
        found = []
        for user in range(first, last):
            rated = slice(self.offsets[user], self.offsets[user + 1])
            history = dict(zip(self.items[rated].tolist(), self.stars[rated].tolist(), strict=True))
            found.append(
                (Taste(history=history, asks_next=asks_next), listing._replace(excluded=history.keys()))
            )
        return found


def _allowed(recommender: Recommender, condition: str) -> Selection | None:
    """What satisfies a filter; None for a blank one."""
    try:
        return recommender.filters.allowed(condition) if condition.strip() else None
    except FilterError as error:
        raise RecommendAllError(f"--filter {error}") from error


def _write(
    parts: Parts, audience: Audience, questions: Callable[[int, int], list[Question]], size: int
) -> None:
    """Write the parts of `size` users each that are not there yet.

    Args:
        parts: Where to.
        audience: Everyone.
        questions: What users `first` to `last` - 1 ask.
        size: Users of a part.
    """
    users = len(audience.user_ids)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("users", total=users)
        for number, first in enumerate(range(0, users, size)):
            last = min(first + size, users)
            if parts.has(number):
                progress.advance(task, last - first)
                continue
            answers: list[Answer] = []
            for start in range(first, last, TOGETHER):
                asked = questions(start, min(start + TOGETHER, last))
                answers += audience.recommender.recommend_batch(asked)
                progress.advance(task, len(asked))
            parts.add(number, *_part(audience, first, answers))


def _part(audience: Audience, first: int, answers: Sequence[Answer]) -> tuple[bytes, Counts]:
    """The answers to the users from `first` on as a Parquet file, and what is in it."""
    user_ids = audience.user_ids[first : first + len(answers)]
    generation = audience.recommender.generation
    lengths = [len(answer.rows) for answer in answers]
    sources = [_SOURCES[answer.origin] for answer in answers]
    table = pa.table(
        [
            _text(np.repeat(np.arange(len(answers)), lengths), pa.array(user_ids)),
            pa.array([rank for length in lengths for rank in range(1, length + 1)], pa.int32()),
            _text(
                [row for answer in answers for row in answer.rows], pa.array(generation.catalogue.item_ids)
            ),
            pa.array([score for answer in answers for score in answer.scores], pa.float32()),
            pa.repeat(pa.scalar(generation.id), sum(lengths)),
            _text(np.repeat(sources, lengths), _SOURCE_NAMES),
        ],
        schema=SCHEMA,
    )
    file = io.BytesIO()
    parquet.write_table(table, file)
    popular = sum(answer.origin is Origin.POPULARITY for answer in answers)
    return file.getvalue(), {
        "users": len(answers),
        "rows": sum(lengths),
        "users_given_popular_items": popular,
        "users_without_rows": lengths.count(0),
    }


def _text(codes: Any, names: pa.Array) -> pa.Array:
    """The names that `codes` number."""
    return names.take(pa.array(codes, pa.int64()))


def _told(summary: dict[str, Any], arguments: Namespace) -> str:
    lines = [
        f"{summary['rows']:,} rows for {summary['users']:,} users in {summary['parts']} "
        f"part{'' if summary['parts'] == 1 else 's'}: {arguments.out} (generation {summary['generation_id']})"
    ]
    if summary["next"] and not summary["knows_order"]:
        lines.append("the generation knows no order, so these are what suits each user, not what is next")
    if popular := summary["users_given_popular_items"]:
        lines.append(f"{popular:,} of them have no usable history and got popular items")
    if without := summary.get("users_without_rows"):
        lines.append(f"{without:,} of them have no row: they rated all that may be returned")
    if unknown := summary["unknown_ratings"]:
        lines.append(f"{unknown:,} ratings were left out: the generation does not know their items")
    return "\n".join(lines)
