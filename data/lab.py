"""The feature matrices of the two-tower exercise that the seed recipe comes from.

Three headless CSV files hold one training row a line, side by side: the item's
features, the user's, and the rating. Two header files name their columns, another
matrix and a list hold the catalogue. Editions differ in genres, in numeric columns
and in whether a movie of two genres takes two rows. Symbols: `R` training rows,
`N` items, `G` genres, `F` item features, `S` user statistics.

The rows are kept as they are, repetitions included, because the exercise trains on
them so; `LabRows.to_tables` gives the same data with each pair once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from deepmoviematch.data.arrays import Floats, Ints
from deepmoviematch.data.canonical import MOVIE_COLUMNS
from deepmoviematch.data.catalogue import UNKNOWN_YEAR, Catalogue
from deepmoviematch.data.cells import YEARS, parse_number, parse_title
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.leniency import Gate
from deepmoviematch.data.matrices import YEAR, Header, Matrix, whole_id
from deepmoviematch.data.ratings import Ratings, pair_codes
from deepmoviematch.data.sheets import TEXT, CsvSheet

ITEM_TRAIN = "content_item_train.csv"
USER_TRAIN = "content_user_train.csv"
RATING_TRAIN = "content_y_train.csv"
ITEM_HEADER = "content_item_train_header.txt"
USER_HEADER = "content_user_train_header.txt"
ITEM_VECTORS = "content_item_vecs.csv"
MOVIE_LIST = "content_movie_list.csv"
LAB_FILES = (ITEM_TRAIN, USER_TRAIN, RATING_TRAIN, ITEM_HEADER, USER_HEADER, ITEM_VECTORS, MOVIE_LIST)


@dataclass(frozen=True, eq=False)
class LabRows:
    """The training rows as they are, and the catalogue that they are about.

    Genre columns, of users and of items, are in the order of `catalogue.genre_names`.
    """

    user_ids: tuple[str, ...]
    """[R]"""

    item_ids: tuple[str, ...]
    """[R]"""

    user_features: Floats
    """[R, G] the user's average stars for each genre, 0 where none was rated."""

    user_statistics: Floats
    """[R, S] the columns named in `statistic_names`."""

    statistic_names: tuple[str, ...]
    """[S] such as "rating count" and "rating ave"."""

    item_features: Floats
    """[R, F] the columns named in `feature_names`."""

    feature_names: tuple[str, ...]
    """[F] such as "year" and "ave rating", and then the genres."""

    ratings: Floats
    """[R]"""

    catalogue: Catalogue
    """N items; one that takes several rows has the genres of all of them."""

    catalogue_features: Floats
    """[N, F] the same columns for each item of the catalogue."""

    def __len__(self) -> int:
        """R, the number of training rows."""
        return len(self.ratings)

    @cached_property
    def codes(self) -> tuple[tuple[str, ...], Ints, Ints]:
        """Distinct user ids in the order of their first row; [R] rows of these; [R] rows of the catalogue."""
        user_ids = tuple(dict.fromkeys(self.user_ids))
        user_of = {user_id: user for user, user_id in enumerate(user_ids)}
        users = np.array([user_of[user_id] for user_id in self.user_ids], dtype=np.int32)
        items = np.array([self.catalogue.row_of[item_id] for item_id in self.item_ids], dtype=np.int32)
        return user_ids, users, items

    def to_tables(self) -> tuple[Catalogue, Ratings]:
        """The catalogue, and each pair of user and item once, in file order, without times."""
        user_ids, users, items = self.codes
        first = np.sort(np.unique(pair_codes(users, items, len(self.catalogue)), return_index=True)[1])
        table = Ratings.from_columns(user_ids, users[first], items[first], self.ratings[first], None)
        return self.catalogue, table


def is_lab(folder: Path) -> bool:
    """Whether `folder` holds the matrices, whole or in part."""
    return any((folder / name).exists() for name in (ITEM_TRAIN, USER_TRAIN, RATING_TRAIN))


def read_lab(folder: Path) -> LabRows:
    """Read the matrices in `folder`.

    Raises:
        DataError: If a sibling is missing, files disagree in rows or columns, a cell
            is not a number, or a user rates an item twice and differently.
    """
    if missing := [name for name in LAB_FILES if not (folder / name).exists()]:
        raise DataError(f"{folder}: the lab matrices need {', '.join(missing)} too, got no such file")
    item_header = Header.read(folder / ITEM_HEADER)
    user_header = Header.read(folder / USER_HEADER)
    if item_header.genres != user_header.genres:
        odd = sorted(set(item_header.genres) ^ set(user_header.genres))
        raise DataError(
            f"{USER_HEADER}:1: genres must be those of {ITEM_HEADER}, got {', '.join(odd)} in one of them"
        )
    items = Matrix.read(folder / ITEM_TRAIN, item_header)
    users = Matrix.read(folder / USER_TRAIN, user_header)
    ratings = Matrix.read(folder / RATING_TRAIN, Header(None, ("rating",), ()))
    for other in (users, ratings):
        if len(other.values) != len(items.values):
            raise DataError(
                f"{other.sheet.place(other.numbers[-1])}: there must be as many rows as the "
                f"{len(items.values)} of {ITEM_TRAIN}, got {len(other.values)}"
            )
    vectors = Matrix.read(folder / ITEM_VECTORS, item_header)
    catalogue, catalogue_features = _catalogue(folder, item_header, [vectors, items])
    statistics = len(user_header.numeric)
    rows = LabRows(
        user_ids=users.ids,
        item_ids=items.ids,
        user_features=users.values[:, statistics:],
        user_statistics=users.values[:, :statistics],
        statistic_names=user_header.numeric,
        item_features=items.values,
        feature_names=item_header.features,
        ratings=ratings.values[:, 0],
        catalogue=catalogue,
        catalogue_features=catalogue_features,
    )
    _check_repetitions(rows, ratings)
    return rows


def _catalogue(folder: Path, header: Header, sources: Sequence[Matrix]) -> tuple[Catalogue, Floats]:
    """The listed movies and their features: numbers from the first row that has them, all rows' genres."""
    titles, places = _titles(folder / MOVIE_LIST)
    row_of = {item_id: row for row, item_id in enumerate(titles)}
    for matrix in sources:
        for number, item_id in zip(matrix.numbers, matrix.ids, strict=True):
            if item_id not in row_of:
                raise DataError(
                    f"{matrix.sheet.place(number)}: a movie must be in {MOVIE_LIST}, got id {item_id!r}"
                )
    rows = np.array([row_of[item_id] for matrix in sources for item_id in matrix.ids])
    values = np.concatenate([matrix.values for matrix in sources])
    found, first = np.unique(rows, return_index=True)
    if len(found) < len(titles):
        item_id = next(item_id for item_id, row in row_of.items() if row not in set(found))
        raise DataError(
            f"{places[item_id]}: a movie must have a row in {ITEM_VECTORS} or {ITEM_TRAIN}, "
            f"got none for id {item_id!r}"
        )
    plain = len(header.numeric)
    genres = np.zeros((len(titles), len(header.genres)), dtype=np.bool_)
    np.logical_or.at(genres, rows, values[:, plain:] > 0)
    features = np.concatenate([values[first, :plain], genres], axis=1, dtype=np.float32)
    catalogue = Catalogue(
        item_ids=tuple(titles),
        titles=tuple(titles.values()),
        years=_years(header, features),
        genre_names=header.genres,
        genres=genres,
    )
    return catalogue, features


def _titles(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Title and place of each listed id."""
    sheet = CsvSheet(path, Gate(), dict.fromkeys(MOVIE_COLUMNS[:2], TEXT))
    titles: dict[str, str] = {}
    places: dict[str, str] = {}
    for number, (text, title) in sheet.rows():
        place = sheet.place(number)
        item_id = whole_id(parse_number(text), place)
        if item_id in titles:
            raise DataError(f"{place}: a movie may be listed once, got id {item_id!r} again")
        titles[item_id], places[item_id] = parse_title(title)[0], place
    if not titles:
        raise DataError(f"{path.name}: a catalogue must hold at least one movie, got none")
    return titles, places


def _years(header: Header, features: Floats) -> Ints:
    named = [column for column, name in enumerate(header.numeric) if name.lower() == YEAR]
    if not named:
        return np.full(len(features), UNKNOWN_YEAR, dtype=np.int32)
    years = features[:, named[0]]
    return np.where(np.isin(years, YEARS), years, UNKNOWN_YEAR).astype(np.int32)


def _check_repetitions(rows: LabRows, ratings: Matrix) -> None:
    _, users, items = rows.codes
    codes = pair_codes(users, items, len(rows.catalogue))
    _, first, pairs = np.unique(codes, return_index=True, return_inverse=True)
    agreed = rows.ratings[first][pairs]
    for row in np.flatnonzero(agreed != rows.ratings):
        raise DataError(
            f"{ratings.sheet.place(ratings.numbers[row])}: a user must give a movie one rating, "
            f"got {rows.ratings[row]} after {agreed[row]} from user {rows.user_ids[row]!r} "
            f"for movie {rows.item_ids[row]!r}"
        )
