"""The canonical form on disk: `ratings.csv` and `movies.csv`, as MovieLens writes them today."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from deepmoviematch.data.catalogue import UNKNOWN_YEAR, Catalogue
from deepmoviematch.data.cells import NO_GENRES, SEPARATOR, column_cells
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.ratings import Ratings

RATINGS_CSV = "ratings.csv"
MOVIES_CSV = "movies.csv"
RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
MOVIE_COLUMNS = ("movieId", "title", "genres")
YEAR = "year"
"""One more column that movies may have; it counts where the title names no year."""
DEVICE = "device"
"""One more column that ratings may have: what they were made on."""

_BLOCK = 1 << 20


def write(dataset: Dataset, folder: Path) -> None:
    """Write `dataset` into `folder`; reading it back gives the same tables.

    Both files are written under other names first, and `ratings.csv` appears last,
    so that where it is, the data are whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = RATING_COLUMNS if dataset.ratings.timestamps is not None else RATING_COLUMNS[:3]
    if dataset.ratings.devices is not None:
        columns = (*columns, DEVICE)
    parts = [
        _write_rows(folder / MOVIES_CSV, _movie_header(dataset.catalogue), _movie_rows(dataset.catalogue)),
        _write_rows(folder / RATINGS_CSV, columns, _rating_rows(dataset)),
    ]
    for part in parts:
        part.replace(part.with_suffix(""))


def _write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    return part


def _movie_header(catalogue: Catalogue) -> Sequence[str]:
    return *MOVIE_COLUMNS, *_further_cells(catalogue)


def _movie_rows(catalogue: Catalogue) -> Iterable[Sequence[str]]:
    further = list(_further_cells(catalogue).values())
    for row, item_id in enumerate(catalogue.item_ids):
        title = catalogue.titles[row] and catalogue.label(row)
        genres = SEPARATOR.join(catalogue.genres_of(row)) or NO_GENRES
        yield item_id, title, genres, *(cells[row] for cells in further)


def _further_cells(catalogue: Catalogue) -> dict[str, list[str]]:
    """[N] cells of each further column, of which years are one where a year has no title to stand behind."""
    years = ["" if year == UNKNOWN_YEAR else str(year) for year in catalogue.years.tolist()]
    untitled = any(year and not title for year, title in zip(years, catalogue.titles, strict=True))
    columns = {column.name: column_cells(column) for column in catalogue.columns}
    return {YEAR: years} | columns if untitled else columns


def _rating_rows(dataset: Dataset) -> Iterable[Sequence[object]]:
    ratings, item_ids = dataset.ratings, dataset.catalogue.item_ids
    for start in range(0, len(ratings), _BLOCK):
        block = slice(start, start + _BLOCK)
        columns = [
            [ratings.user_ids[user] for user in ratings.users[block].tolist()],
            [item_ids[item] for item in ratings.items[block].tolist()],
            _texts(ratings, block),
        ]
        if ratings.timestamps is not None:
            columns.append(ratings.timestamps[block].tolist())
        if ratings.devices is not None:
            names = (*ratings.device_names, "")  # no device, -1, takes the last
            columns.append([names[device] for device in ratings.devices[block].tolist()])
        yield from zip(*columns, strict=True)


def _texts(ratings: Ratings, block: slice) -> list[str]:
    """The shortest decimals that are the same float32 again."""
    values, places = np.unique(ratings.ratings[block], return_inverse=True)
    texts = [str(value) for value in values]
    return [texts[place] for place in places.tolist()]
