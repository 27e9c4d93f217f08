"""Files of rows as text: MovieLens' old separated form, and CSV.

Every sheet numbers its rows the way an editor does, so that an error can say
where. A row that is not even a row (wrong number of columns, broken encoding) is
refused here; what its cells mean is for others to check.
"""

import csv
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypeAlias

import pyarrow as pa
from pyarrow import csv as arrow_csv

from deepmoviematch.data.errors import DataError
from deepmoviematch.data.leniency import BrokenRowError, Gate, RowFile

Row: TypeAlias = tuple[int, list[str]]
"""A row's number and its cells."""

_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}

_FOREIGN = {
    b"\x1f\x8b": ("gzip", "unpack it"),
    b"PK\x03\x04": ("a zip archive", "unpack it, or save a workbook as CSV"),
    b"\xff\xfe": ("UTF-16", "save it as UTF-8"),
    b"\xfe\xff": ("UTF-16", "save it as UTF-8"),
}
"""How files begin that are taken for CSV: what they are, and the cure."""

_UNREADABLE = re.compile("[\0\udc80-\udcff]")  # NUL, or a byte that was not UTF-8


class Sheet(RowFile, Protocol):
    """A file of rows."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the cells of a row."""

    def rows(self) -> Iterator[Row]:
        """The rows that are rows, in file order."""


class ColumnarSheet(Sheet, Protocol):
    """A file of rows that can be read by columns too, which is several times faster."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in file order, some thousands at a time; Arrow's errors come out as they are."""


@dataclass(frozen=True)
class ColumnType:
    """What a column may hold, in files that say what theirs do."""

    words: str
    """Its types, for people."""

    accepts: Callable[[pa.DataType], bool]
    """Whether values of a type may be in it."""

    fast: pa.DataType
    """The type that `ColumnarSheet.batches` gives it."""


def _is_text(found: pa.DataType) -> bool:
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))


def _is_number(found: pa.DataType) -> bool:
    return bool(pa.types.is_integer(found) or pa.types.is_floating(found))


def _is_texts(found: pa.DataType) -> bool:
    if pa.types.is_list(found) or pa.types.is_large_list(found):
        return _is_text(found.value_type)
    return _is_text(found)


def _is_further(found: pa.DataType) -> bool:
    return bool(_is_texts(found) or pa.types.is_primitive(found) or pa.types.is_decimal(found))


CODES = pa.dictionary(pa.int32(), pa.string())
TEXT = ColumnType("text", _is_text, pa.string())
GENRES = ColumnType("text or lists of text", _is_texts, pa.string())
ID = ColumnType("text or whole numbers", lambda found: _is_text(found) or pa.types.is_integer(found), CODES)
LABEL = ColumnType("text", _is_text, CODES)
"""Text of few kinds, which may be missing."""
NUMBER = ColumnType("numbers", _is_number, pa.float32())
TIME = ColumnType(
    "seconds or times", lambda found: _is_number(found) or pa.types.is_timestamp(found), pa.float64()
)

FURTHER = ColumnType("text, numbers, booleans, times or lists of text", _is_further, pa.string())


class SeparatedSheet:
    """Rows without header or quoting, such as `u.data` and `ratings.dat`; Latin-1."""

    def __init__(self, path: Path, gate: Gate, *, separator: str, columns: Sequence[str]) -> None:
        self.name = path.name
        self.columns = tuple(columns)
        self._path = path
        self._gate = gate
        self._separator = separator

    def place(self, number: int) -> str:
        """See `RowFile.place`."""
        return f"{self.name}:{number}"

    def rows(self) -> Iterator[Row]:
        """See `Sheet.rows`."""
        with self._path.open(encoding="latin-1") as file:
            for number, line in enumerate(file, start=1):
                cells = line.rstrip("\n").split(self._separator)
                if cells == [""]:
                    continue
                try:
                    check_row(cells, len(self.columns))
                except BrokenRowError as broken:
                    self._gate.refuse(self, number, broken)
                else:
                    yield number, cells


class CsvSheet:
    """Rows of a UTF-8 file with a header; cells are found by their column's name."""

    def __init__(
        self,
        path: Path,
        gate: Gate,
        required: Mapping[str, ColumnType],
        optional: Mapping[str, ColumnType] = MappingProxyType({}),
        *,
        separator: str = ",",
        further: bool = False,
    ) -> None:
        """Read the header.

        Args:
            path: The file.
            gate: Where broken rows go.
            required: Columns that must be there.
            optional: Columns that may be.
            separator: Stands between cells.
            further: Whether all other columns that have a name are wanted too.

        Raises:
            DataError: If the file is empty, is no UTF-8 text or lacks a required column.
        """
        self.name = path.name
        self._path = path
        self._gate = gate
        self._separator = separator
        with path.open("rb") as file:
            start = file.read(4)
        for mark, (kind, cure) in _FOREIGN.items():
            if start.startswith(mark):
                raise DataError(f"{self.name}: the file must be text in UTF-8, got {kind}; {cure}")
        number, header = next(self._lines(), (1, []))
        if not header:
            raise DataError(f"{self.name}: the file must start with a header line, got an empty file")
        try:
            check_row(header, len(header))
        except BrokenRowError as broken:
            raise DataError(f"{self.place(number)}: {broken.rule}, got {broken.got}") from broken
        names = [name.strip() for name in header]
        apart = set(_SEPARATORS) & set("".join(names))
        cure = f"columns must be separated by {_SEPARATORS[separator]}" if len(names) == 1 and apart else ""
        optional_too = (*optional, *names * further)
        self.columns = pick_columns(self.place(number), names, required, optional_too, cure=cure)
        if further and "" in names:
            gate.note(f"{self.place(number)}: a column without a name is left out")
        self._types = {**required, **optional}
        self._width = len(names)
        self._picked = [names.index(name) for name in self.columns]
        self._header = header

    def place(self, number: int) -> str:
        """See `RowFile.place`."""
        return f"{self.name}:{number}"

    def rows(self) -> Iterator[Row]:
        """See `Sheet.rows`; blank lines are no rows."""
        lines = self._lines()
        next(lines)
        for number, cells in lines:
            try:
                check_row(cells, self._width)
            except BrokenRowError as broken:
                self._gate.refuse(self, number, broken)
            else:
                yield number, [cells[column] for column in self._picked]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `ColumnarSheet.batches`; ids dictionary-encoded, numbers as floating point.

        Raises:
            pa.ArrowInvalid: If a quote is still open at the end of its line, which Arrow would read past.
        """
        if not self._closes_quotes():
            raise pa.ArrowInvalid("a quote is open at the end of a line")
        options = arrow_csv.ConvertOptions(
            include_columns=[self._header[column] for column in self._picked],
            column_types={
                self._header[column]: self._types.get(name, FURTHER).fast
                for name, column in zip(self.columns, self._picked, strict=True)
            },
            null_values=[],
        )
        read = arrow_csv.ReadOptions(block_size=4 << 20)
        with arrow_csv.open_csv(self._path, read_options=read, convert_options=options) as reader:
            yield from reader

    def _lines(self) -> Iterator[Row]:
        with self._path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.reader(file, delimiter=self._separator, strict=True)
            headed = False
            while True:
                number = reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    broken = _no_csv(str(error), number, reader.line_num)
                    gate = self._gate if headed else Gate()  # rows without a header are of no use
                    gate.refuse(self, number, broken, lost=reader.line_num - number + 1)
                    continue
                if cells:
                    headed = True
                    yield number, cells

    def _closes_quotes(self) -> bool:
        """Whether each line is valid CSV by itself; only those with a quote can fail to be."""
        with self._path.open("rb") as file:
            if not any(b'"' in block for block in iter(partial(file.read, 1 << 20), b"")):
                return True  # several times faster than by lines
            file.seek(0)
            quoted = (line.decode("utf-8", "surrogateescape") for line in file if b'"' in line)
            reader = csv.reader(quoted, delimiter=self._separator, strict=True)
            try:
                return all(reader.line_num == count for count, _ in enumerate(reader, start=1))
            except csv.Error:
                return False


def _no_csv(error: str, first: int, last: int) -> BrokenRowError:
    """What is wrong with the row from line `first` to `last` that the `csv` module gave up with `error`."""
    if error.startswith("field larger") and first == last:
        return BrokenRowError("a row must be valid CSV", error)
    got = error if first == last else f"a quote that is still open in line {last}"
    if error == "unexpected end of data":
        got = "a quote that is never closed"
    cure = "close the quote that opens a cell and double those inside it"
    return BrokenRowError("a row must be valid CSV", got, cure=cure)


def check_row(cells: Sequence[str], width: int) -> None:
    """Hold a row to its width and to readable text.

    Raises:
        BrokenRowError: If it has more or fewer cells, a NUL, or bytes that were not UTF-8.
    """
    if len(cells) != width:
        raise BrokenRowError(f"a row must have {width} columns", str(len(cells)))
    if not _UNREADABLE.search("".join(cells)):
        return
    cell = next(cell for cell in cells if _UNREADABLE.search(cell))
    rule = "text must not hold NUL bytes" if "\0" in cell else "text must be UTF-8"
    raise BrokenRowError(rule, repr(cell.encode("utf-8", "surrogateescape")))


_CURES = {"rating": "where nobody rates, as with plays or purchases, add it with a 1 in each row"}
"""Of a column that is missing."""


def pick_columns(
    place: str,
    names: Sequence[str],
    required: Collection[str],
    optional: Collection[str],
    *,
    cure: str = "",
) -> tuple[str, ...]:
    """The required columns and those optional ones that are there.

    Args:
        place: Where they are.
        names: Of all columns.
        required: Those that must be there.
        optional: Those that may be.
        cure: What to do where one is missing, if that is plain.

    Raises:
        DataError: If a required column is missing, or one of them is there twice.
    """
    for name in required:
        if name not in names:
            cure = cure or _CURES.get(name, "")
            got = ", ".join(map(str, names))
            raise DataError(f"{place}: column {name} is missing, got {got!r}{cure and f'; {cure}'}")
    picked = tuple(dict.fromkeys((*required, *(name for name in optional if name and name in names))))
    for name in picked:
        if names.count(name) > 1:
            raise DataError(f"{place}: column {name} must be there once, got {names.count(name)}")
    return picked
