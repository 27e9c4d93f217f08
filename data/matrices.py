"""Headless CSV files of numbers, and the header files that name their columns.

Symbols: `R` rows, `F` features, which are the numeric columns and then the genres.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.cells import BOUND, LARGEST, parse_number
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.leniency import Gate
from deepmoviematch.data.sheets import SeparatedSheet

YEAR = "year"
_IDS = {"user id", "userid", "movie id", "movieid", "item id", "itemid", "id"}
_NUMERIC = {YEAR, "ave rating", "average rating", "rating count", "rating ave", "rating average"}


@dataclass(frozen=True)
class Header:
    """Which column is which; names in the order that the tables have them."""

    id_name: str | None
    numeric: tuple[str, ...]
    genres: tuple[str, ...]
    names: tuple[str, ...] = ()
    """As in the file."""

    @classmethod
    def read(cls, path: Path) -> "Header":
        """Read the names in a file of one line.

        Raises:
            DataError: If the file is not one line of UTF-8, names are repeated, or none or several are ids.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
        except UnicodeDecodeError as error:
            got = f"byte 0x{error.object[error.start]:02x}"
            raise DataError(f"{path.name}: a header must be UTF-8, got {got}; save it so") from error
        if len(lines) > 1:
            raise DataError(f"{path.name}:2: a header must be one line, got {lines[1]!r}; leave it out")
        names = tuple(name.strip() for name in ",".join(lines[:1]).split(","))
        plain = {name: name.lower().replace("_", " ") for name in names}
        ids = [name for name in names if plain[name] in _IDS]
        if len(ids) != 1 or len(plain) != len(names):
            raise DataError(
                f"{path.name}:1: columns must have distinct names, one of them an id, got {','.join(names)!r}"
            )
        numeric = tuple(name for name in names if plain[name] in _NUMERIC)
        genres = tuple(sorted(set(names) - set(ids) - set(numeric)))
        return cls(ids[0], numeric, genres, names)

    @property
    def features(self) -> tuple[str, ...]:
        """[F] what a `Matrix` has as columns, in this order."""
        return (*self.numeric, *self.genres)


@dataclass(frozen=True, eq=False)
class Matrix:
    """A headless CSV file of numbers."""

    sheet: SeparatedSheet
    numbers: list[int]
    """[R] line numbers."""

    ids: tuple[str, ...]
    """[R] from the id column; empty where there is none."""

    values: Floats
    """[R, F] the header's features."""

    @classmethod
    def read(cls, path: Path, header: Header) -> "Matrix":
        """Read a file whose columns are those of `header`, in the file's order.

        Raises:
            DataError: If a row is ragged, a cell is no number, an id is not whole, or there is no row.
        """
        names = header.names or header.features
        sheet = SeparatedSheet(path, Gate(), separator=",", columns=names)
        numbers: list[int] = []
        rows: list[list[float]] = []
        for number, cells in sheet.rows():
            numbers.append(number)
            rows.append(_finite(cells, names, sheet.place(number)))
        if not rows:
            raise DataError(f"{path.name}: there must be at least one row, got none")
        values = np.array(rows)  # [R, columns of the file]
        ids: tuple[str, ...] = ()
        if header.id_name is not None:
            column = values[:, names.index(header.id_name)].tolist()
            places = (sheet.place(number) for number in numbers)
            ids = tuple(map(whole_id, column, places))
        picked = [names.index(name) for name in header.features]
        return cls(sheet, numbers, ids, values[:, picked].astype(np.float32))


def whole_id(value: float, place: str) -> str:
    """The id "2" of the number 2.0, which is how NumPy writes it.

    Raises:
        DataError: If the number is not whole.
    """
    if not value.is_integer():  # NaN and infinity too
        raise DataError(f"{place}: an id must be a whole number, got {value}")
    return str(int(value))


def _finite(cells: Sequence[str], names: Sequence[str], place: str) -> list[float]:
    try:
        values = list(map(float, cells))
    except ValueError:
        values = list(map(parse_number, cells))
    for name, cell, value in zip(names, cells, values, strict=True):
        if not -LARGEST <= value <= LARGEST:  # NaN too
            rule = BOUND if math.isfinite(value) else "a finite number"
            raise DataError(f"{place}: {name} must be {rule}, got {cell!r}")
    return values
