"""From rows of a file to the two tables, every rule checked on the way.

Ratings are read twice at most. The quick look goes by columns and gives up at the
first sign of trouble; the careful look goes row by row, and either says where the
trouble is or, with leniency, counts it.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from deepmoviematch.data.arrays import Floats, Ints, Longs
from deepmoviematch.data.canonical import DEVICE
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.cells import (
    LATEST_TIME,
    parse_column,
    parse_device,
    parse_id,
    parse_rating,
    parse_time,
    stray_cell,
)
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.leniency import BrokenRowError, Gate
from deepmoviematch.data.ratings import Ratings, pair_codes
from deepmoviematch.data.sheets import ColumnarSheet, Sheet, check_row


class Movie(NamedTuple):
    """A row of a catalogue's file."""

    number: int
    """Of the row in its file."""

    item_id: str
    title: str
    year: int
    genres: Iterable[str]

    further: Sequence[str] = ()
    """Cells of further columns."""


def catalogue_of(sheet: Sheet, movies: Iterable[Movie], gate: Gate, further: Sequence[str] = ()) -> Catalogue:
    """The catalogue of the `movies` in `sheet`, in their order; genres in alphabetical order.

    Args:
        sheet: Where they come from.
        movies: Its rows.
        gate: Where broken rows go.
        further: Names of the further columns.

    Raises:
        DataError: If a row breaks a rule and `gate` is strict, or no row is left.
    """
    kept: dict[str, Movie] = {}
    for movie in movies:
        try:
            parse_id(movie.item_id, "movie")
            if movie.item_id in kept:
                first = sheet.place(kept[movie.item_id].number)
                raise BrokenRowError(
                    "a movie may be listed once", f"id {movie.item_id!r} again (first at {first})"
                )
        except BrokenRowError as broken:
            gate.refuse(sheet, movie.number, broken)
        else:
            kept[movie.item_id] = movie
    if not kept:
        raise DataError(f"{sheet.name}: a catalogue must hold at least one movie, got none{gate.account}")
    names = sorted({name for movie in kept.values() for name in movie.genres})
    column = {name: place for place, name in enumerate(names)}
    rows = list(kept.values())
    genres = np.zeros((len(kept), len(names)), dtype=np.bool_)
    for row, movie in enumerate(rows):
        genres[row, [column[name] for name in movie.genres]] = True
    columns = tuple(
        parse_column(name, [movie.further[place] for movie in rows]) for place, name in enumerate(further)
    )
    for each in columns:
        if (stray := stray_cell(each)) is not None:
            gate.note(
                f"{sheet.place(rows[stray].number)}: column {each.name} is text, not numbers, "
                f"got {each.values[stray]!r}; leave unknown cells empty"
            )
    return Catalogue(
        item_ids=tuple(kept),
        titles=tuple(movie.title for movie in rows),
        years=np.array([movie.year for movie in rows], dtype=np.int32),
        genre_names=tuple(names),
        genres=genres,
        columns=columns,
    )


def ratings_of(sheet: Sheet, catalogue: Catalogue, gate: Gate) -> Ratings:
    """The ratings in `sheet`, row by row; users in the order of their first appearance.

    Args:
        sheet: Columns user, item, rating and, where the data have them, time and device.
        catalogue: What may be rated.
        gate: Where broken rows go.

    Raises:
        DataError: If a row breaks a rule and `gate` is strict, or no row is left.
    """
    users: dict[str, int] = {}
    names: dict[str, int] = {}
    timed, named = _further(sheet)
    owners, items, ratings, times, numbers = array("i"), array("i"), array("f"), array("q"), array("q")
    devices = array("i")
    for number, cells in sheet.rows():
        try:
            user = parse_id(cells[0], "user")
            item = _catalogued(parse_id(cells[1], "movie"), catalogue)
            rating = parse_rating(cells[2])
            time = parse_time(cells[3]) if timed else 0
            device = parse_device(cells[-1]) if named else ""
        except BrokenRowError as broken:
            gate.refuse(sheet, number, broken)
            continue
        owners.append(users.setdefault(user, len(users)))
        items.append(item)
        ratings.append(rating)
        times.append(time)
        devices.append(names.setdefault(device, len(names)) if device else -1)
        numbers.append(number)
    if not numbers:
        raise DataError(f"{sheet.name}: there must be at least one rating, got none{gate.account}")
    columns = [
        np.frombuffer(column, dtype=column.typecode) for column in (owners, items, ratings, times, devices)
    ]
    user_ids = tuple(users)
    codes = pair_codes(columns[0], columns[1], len(catalogue))
    pairs, firsts = np.unique(codes, return_index=True)
    first = np.sort(firsts)
    for row in np.setdiff1d(np.arange(len(numbers)), first):
        before = sheet.place(numbers[firsts[np.searchsorted(pairs, codes[row])]])
        pair = f"user {user_ids[owners[row]]!r} and movie {catalogue.item_ids[items[row]]!r}"
        twice = BrokenRowError("a user may rate a movie once", f"{pair} again (first at {before})")
        gate.refuse(sheet, numbers[row], twice)
    kept = [column[first] for column in columns]
    return Ratings.from_columns(
        user_ids,
        kept[0],
        kept[1],
        kept[2],
        kept[3] if timed else None,
        devices=kept[4] if named else None,
        device_names=tuple(names),
    )


def quick_ratings_of(sheet: ColumnarSheet, catalogue: Catalogue) -> Ratings | None:
    """What `ratings_of` gives, several times faster; None unless every row is good."""
    users: dict[str, int] = {}
    names: dict[str, int] = {}
    timed, named = _further(sheet)
    try:
        parts = [
            (
                *_coded(batch, users, catalogue, timed=timed),
                _devices(batch.columns[-1], names) if named else np.empty(0, dtype=np.int32),
            )
            for batch in sheet.batches()
            if batch.num_rows
        ]
        owners, items, ratings, times, devices = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        del parts
        return Ratings.from_columns(
            tuple(users),
            owners,
            items,
            ratings,
            times if timed else None,
            devices=devices if named else None,
            device_names=tuple(names),
        )
    except (pa.ArrowException, ValueError, BrokenRowError, DataError):
        return None


def _further(sheet: Sheet) -> tuple[bool, bool]:
    """Whether `sheet` has times, and whether it has devices, which come last."""
    named = sheet.columns[-1] == DEVICE
    return len(sheet.columns) - named > 3, named


def _coded(
    batch: pa.RecordBatch, users: dict[str, int], catalogue: Catalogue, *, timed: bool
) -> tuple[Ints, Ints, Floats, Longs]:
    """The batch as rows of users and items, ratings and times; `users` learns the new ones.

    Raises:
        ValueError: If a rating, a time or a movie breaks a rule.
        BrokenRowError: If a user's id does.
    """
    if any(column.null_count for column in batch.columns):
        raise ValueError("a value is missing")
    user, item, rating, *rest = batch.columns
    owners = [users.setdefault(name, len(users)) for name in _readable(user.dictionary)]
    rows = [catalogue.row_of.get(name, -1) for name in item.dictionary.to_pylist()]
    ratings = np.asarray(np.from_dlpack(rating), dtype=np.float32)
    times = np.from_dlpack(rest[0]) if timed else np.zeros(len(ratings))
    if min(rows) < 0 or not np.isfinite(ratings).all():
        raise ValueError("a movie is not in the catalogue, or a rating is not finite")
    if not ((times >= 0) & (times < LATEST_TIME) & (times == np.floor(times))).all():
        raise ValueError("a time is out of range")
    return (
        np.array(owners, dtype=np.int32)[np.from_dlpack(user.indices)],
        np.array(rows, dtype=np.int32)[np.from_dlpack(item.indices)],
        ratings,
        times.astype(np.int64),
    )


def _devices(column: pa.DictionaryArray, names: dict[str, int]) -> Ints:
    """The column as rows of `names`, which learns the new ones; -1 where nothing is said.

    Raises:
        BrokenRowError: If a name breaks a rule.
    """
    rows = []
    for text in column.dictionary.to_pylist():
        check_row([text], 1)
        name = parse_device(text)
        rows.append(names.setdefault(name, len(names)) if name else -1)
    codes: Ints = np.array(rows, dtype=np.int32)[np.from_dlpack(column.indices)]
    return codes


def _readable(dictionary: pa.Array) -> Iterator[str]:
    for name in dictionary.to_pylist():
        check_row([name], 1)
        yield parse_id(name, "user")


def _catalogued(item_id: str, catalogue: Catalogue) -> int:
    row = catalogue.row_of.get(item_id)
    if row is None:
        raise BrokenRowError("a rated movie must be in the catalogue", repr(item_id))
    return row
