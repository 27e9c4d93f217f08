"""A folder of data in any of the accepted forms -> a `Dataset`.

The form is recognised by the names of the files. To add one: a function from
folder and gate to catalogue and ratings, and a row in `FORMS`.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from deepmoviematch.data.canonical import (
    DEVICE,
    MOVIE_COLUMNS,
    MOVIES_CSV,
    RATING_COLUMNS,
    RATINGS_CSV,
    YEAR,
)
from deepmoviematch.data.catalogue import UNKNOWN_YEAR, Catalogue
from deepmoviematch.data.cells import SEPARATOR, parse_genres, parse_title, parse_year
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.intake import Movie, catalogue_of, quick_ratings_of, ratings_of
from deepmoviematch.data.lab import LAB_FILES, RATING_TRAIN, is_lab, read_lab
from deepmoviematch.data.leniency import BrokenRowError, Gate
from deepmoviematch.data.parquet import ParquetSheet
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.sheets import (
    FURTHER,
    GENRES,
    ID,
    LABEL,
    NUMBER,
    TEXT,
    TIME,
    CsvSheet,
    SeparatedSheet,
    Sheet,
)

Tables: TypeAlias = tuple[Catalogue, Ratings]

# The order of the flags in `u.item`, for copies that come without `u.genre`.
_U_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_NO_GENRE = "unknown"
"""How MovieLens 100K says that a movie has no genre."""


_MOVIES = {"movieId": ID, "title": TEXT}
_MOVIES_TOO = {"genres": GENRES, YEAR: FURTHER}
_RATINGS = {"userId": ID, "movieId": ID, "rating": NUMBER}
_RATINGS_TOO = {"timestamp": TIME, DEVICE: LABEL}
"""Columns of the canonical form, and those that may be there too."""


PACKED = {"bz2", "gz", "xz", "zip", "zst"}
"""What the names of packed files end in."""


@dataclass(frozen=True)
class Form:
    """A way in which a data set may lie in a folder."""

    ratings: str
    movies: str
    read: Callable[[Path, Gate], Tables]


def read(folder: Path, *, lenient: bool = False) -> Dataset:
    """Read the data set in `folder`, whatever its form.

    Users come in the order of their first rating in the file, movies in the order
    of theirs, genres alphabetically.

    Args:
        folder: Holds the files of one form; of several complete ones, the first in `FORMS` counts.
        lenient: Drop and count the rows that break a rule, instead of refusing the
            data; of a movie whose year does, the year alone. The `lab` matrices have
            rows in several files and are always read strictly.

    Raises:
        DataError: If the folder holds no known form, or its data break a rule.
    """
    gate = Gate(lenient=lenient, offered=True)
    try:
        if holds_lab(folder):
            return _read_lab(folder)
        catalogue, ratings = _read_form(folder, gate)
    except (OSError, UnicodeError, pa.ArrowException) as error:
        raise DataError(f"{folder}: the data must be readable, got {error}") from error
    return Dataset(folder.resolve().name, catalogue, ratings, dropped=gate.dropped)


def read_and_tell(folder: Path, *, lenient: bool = False) -> Dataset:
    """`read`, and a line on standard error for each of `Dataset.dropped`."""
    dataset = read(folder, lenient=lenient)
    for sentence in dataset.dropped:
        print(sentence, file=sys.stderr)
    return dataset


def holds_lab(folder: Path) -> bool:
    """Whether `read` takes the exercise's matrices in `folder`: no whole form lies beside them."""
    return is_lab(folder) and not any(_is_whole(folder, form) for form in FORMS)


def _is_whole(folder: Path, form: Form) -> bool:
    return (folder / form.ratings).exists() and (folder / form.movies).exists()


def _read_lab(folder: Path) -> Dataset:
    rows = read_lab(folder)
    catalogue, ratings = rows.to_tables()
    repeated = len(rows) - len(ratings)
    sentence = (
        f"{RATING_TRAIN}: {repeated:,} of {len(rows):,} rows repeat a user and item; "
        "in the two tables each counts once"
    )
    return Dataset(folder.resolve().name, catalogue, ratings, dropped=(sentence,) if repeated else ())


def _read_form(folder: Path, gate: Gate) -> Tables:
    if not folder.is_dir():
        raise DataError(f"{folder}: data must be a folder, got {'a file' if folder.exists() else 'nothing'}")
    for form in FORMS:
        if _is_whole(folder, form):
            return form.read(folder, gate)
    for form in FORMS:
        for there, missing, others in (
            (form.ratings, form.movies, [other.movies for other in FORMS]),
            (form.movies, form.ratings, [other.ratings for other in FORMS]),
        ):
            if (folder / there).exists():
                found = [name for name in others if (folder / name).exists()]
                got = f"{', '.join(found)}: both must be of one form" if found else "no such file"
                got = _misnamed(folder, [missing]) or got
                raise DataError(f"{folder}: {there} needs {missing} beside it, got {got}")
    accepted = "; ".join([*(f"{form.ratings} and {form.movies}" for form in FORMS), ", ".join(LAB_FILES)])
    got = _misnamed(folder, [name for form in FORMS for name in (form.ratings, form.movies)])
    raise DataError(f"{folder}: a data folder must hold one of: {accepted}; got {got or 'none of them'}")


def _misnamed(folder: Path, wanted: Iterable[str]) -> str:
    """The first of the wanted files that is there packed or in other letters, and the cure; empty if none."""
    there = sorted(path.name for path in folder.iterdir())
    for name in wanted:
        for other in there:
            stem, _, packed = other.rpartition(".")
            if other.casefold() == name:
                return f"{other}; rename it to {name}"
            if stem.casefold() == name and packed in PACKED:
                return f"{other}; unpack it to {name}"
    return ""


def _read_canonical(kind: type[CsvSheet] | type[ParquetSheet], form: str, folder: Path, gate: Gate) -> Tables:
    """Sheets of one kind, whose names end in `form`."""
    movies = kind(folder / f"movies.{form}", gate, _MOVIES, _MOVIES_TOO, further=True)
    ratings = kind(folder / f"ratings.{form}", gate, _RATINGS, _RATINGS_TOO)
    further = [name for name in movies.columns if name not in (*MOVIE_COLUMNS, YEAR)]
    catalogue = catalogue_of(movies, _canonical_movies(movies, gate), gate, further)
    quick = quick_ratings_of(ratings, catalogue)
    return catalogue, ratings_of(ratings, catalogue, gate) if quick is None else quick


def _canonical_movies(sheet: Sheet, gate: Gate) -> Iterator[Movie]:
    for number, cells in sheet.rows():
        item_id, title, *_ = cells
        known = dict(zip(sheet.columns, cells, strict=True))
        try:
            year = parse_year(known.pop(YEAR, ""))
        except BrokenRowError as broken:
            gate.refuse(sheet, number, broken, what="cell")
            year = UNKNOWN_YEAR  # a movie without its year keeps its ratings
        yield Movie(
            number,
            item_id,
            *_title_and_year(title, year),
            parse_genres(known.pop("genres", "")),
            tuple(known.values())[2:],
        )


def _read_1m(folder: Path, gate: Gate) -> Tables:
    movies = SeparatedSheet(folder / "movies.dat", gate, separator="::", columns=MOVIE_COLUMNS)
    ratings = SeparatedSheet(folder / "ratings.dat", gate, separator="::", columns=RATING_COLUMNS)
    catalogue = catalogue_of(movies, _canonical_movies(movies, gate), gate)
    return catalogue, ratings_of(ratings, catalogue, gate)


def _read_100k(folder: Path, gate: Gate) -> Tables:
    genres = list(_U_GENRES)
    if (folder / "u.genre").exists():
        pairs = SeparatedSheet(folder / "u.genre", gate, separator="|", columns=("genre", "column"))
        genres = [name for _, (name, _) in pairs.rows()]
    about = ("movieId", "title", "released", "videoReleased", "url")
    movies = SeparatedSheet(folder / "u.item", gate, separator="|", columns=(*about, *genres))
    ratings = SeparatedSheet(folder / "u.data", gate, separator="\t", columns=RATING_COLUMNS)
    catalogue = catalogue_of(movies, _flagged_movies(movies, genres), gate)
    return catalogue, ratings_of(ratings, catalogue, gate)


def _flagged_movies(sheet: Sheet, genres: list[str]) -> Iterator[Movie]:
    for number, (item_id, title, released, _, _, *flags) in sheet.rows():
        names = SEPARATOR.join(name for name, flag in zip(genres, flags, strict=True) if flag == "1")
        dated = _title_and_year(title, _year_in(released[-4:]))
        yield Movie(number, item_id, *dated, _without_unknown(parse_genres(names)))


def _read_atomic(folder: Path, gate: Gate) -> Tables:
    """The ml-100k files that RecBole carries: tabs, and a header of typed names."""
    movies = CsvSheet(
        folder / "ml-100k.item",
        gate,
        dict.fromkeys(
            ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"), TEXT
        ),
        separator="\t",
    )
    ratings = CsvSheet(
        folder / "ml-100k.inter",
        gate,
        {"user_id:token": ID, "item_id:token": ID, "rating:float": NUMBER, "timestamp:float": TIME},
        separator="\t",
    )
    catalogue = catalogue_of(movies, _atomic_movies(movies), gate)
    return catalogue, ratings_of(ratings, catalogue, gate)


def _atomic_movies(sheet: Sheet) -> Iterator[Movie]:
    for number, (item_id, title, year, genres) in sheet.rows():
        dated = _title_and_year(title, _year_in(year))
        yield Movie(number, item_id, *dated, _without_unknown(genres.split()))


def _title_and_year(title: str, year: int) -> tuple[str, int]:
    """The title without its year, and that year; where it names none, the `year` of another cell."""
    name, named = parse_title(title)
    return name, year if named == UNKNOWN_YEAR else named


def _year_in(text: str) -> int:
    """The year in a cell that may hold anything, for that is how these files come."""
    try:
        return parse_year(text)
    except BrokenRowError:
        return UNKNOWN_YEAR


def _without_unknown(genres: Iterable[str]) -> list[str]:
    return [name for name in genres if name != _NO_GENRE]


FORMS = (
    Form(RATINGS_CSV, MOVIES_CSV, partial(_read_canonical, CsvSheet, "csv")),
    Form("ratings.parquet", "movies.parquet", partial(_read_canonical, ParquetSheet, "parquet")),
    Form("ratings.dat", "movies.dat", _read_1m),
    Form("u.data", "u.item", _read_100k),
    Form("ml-100k.inter", "ml-100k.item", _read_atomic),
)
