"""Files of rows as Parquet, with the same names for the columns as in CSV."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
from pyarrow import parquet

from .errors import DataError
from .leniency import BrokenRowError, Gate
from .sheets import Row, check_row, pick_columns


@dataclass(frozen=True)
class Kind:
    """What a column may hold."""

    words: str
    """Its types, for people."""

    accepts: Callable[[pa.DataType], bool]
    """Whether values of a type may be in it."""

    fast: pa.DataType
    """The type that `ParquetSheet.batches` gives it."""


def _is_text(found: pa.DataType) -> bool:
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))


def _is_number(found: pa.DataType) -> bool:
    return bool(pa.types.is_integer(found) or pa.types.is_floating(found))


CODES = pa.dictionary(pa.int32(), pa.string())
TEXT = Kind("text", _is_text, pa.string())
ID = Kind("text or whole numbers", lambda found: _is_text(found) or pa.types.is_integer(found), CODES)
NUMBER = Kind("numbers", _is_number, pa.float32())
TIME = Kind("seconds or times", lambda found: _is_number(found) or pa.types.is_timestamp(found), pa.float64())


class ParquetSheet:
    """Rows of a Parquet file; rows are numbered from 1."""

    def __init__(
        self,
        path: Path,
        gate: Gate,
        required: Mapping[str, Kind],
        optional: Mapping[str, Kind] = MappingProxyType({}),
    ) -> None:
        """Read the schema.

        Raises:
            DataError: If the file is not Parquet, lacks a required column, or holds one of another type.
        """
        self.name = path.name
        self._path = path
        self._gate = gate
        try:
            schema = parquet.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.name}: the file must be Parquet, got {error!s:.80}") from error
        self.columns = pick_columns(self.name, schema.names, list(required), list(optional))
        kinds = {**required, **optional}
        self._kinds = [kinds[name] for name in self.columns]
        for name, kind in zip(self.columns, self._kinds, strict=True):
            found = _value_type(schema.field(name).type)
            if not kind.accepts(found):
                raise DataError(f"{self.name}: column {name} must be {kind.words}, got {found}")

    def place(self, number: int) -> str:
        """See `Place.place`."""
        return f"{self.name}: row {number}"

    def rows(self) -> Iterator[Row]:
        """See `Sheet.rows`; a missing value is an empty cell."""
        number = 0
        for batch in self._raw_batches():
            columns = [_plain(column).to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                number += 1
                cells = ["" if value is None else str(value) for value in values]
                try:
                    check_row(cells, len(self.columns))
                except BrokenRowError as broken:
                    self._gate.refuse(self, number, broken)
                else:
                    yield number, cells

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `ColumnarSheet.batches`; ids dictionary-encoded, numbers as floating point."""
        for batch in self._raw_batches():
            columns = [
                _encoded(_plain(column), kind.fast)
                for kind, column in zip(self._kinds, batch.columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, names=list(self.columns))

    def _raw_batches(self) -> Iterator[pa.RecordBatch]:
        with parquet.ParquetFile(self._path) as file:
            for batch in file.iter_batches(columns=list(self.columns)):
                yield batch.select(list(self.columns))


def _value_type(found: pa.DataType) -> pa.DataType:
    return found.value_type if pa.types.is_dictionary(found) else found


def _plain(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    return column


def _encoded(column: pa.Array, fast: pa.DataType) -> pa.Array:
    if not pa.types.is_dictionary(fast):
        return column.cast(fast, safe=False)
    codes = column.dictionary_encode()
    return pa.DictionaryArray.from_arrays(codes.indices, codes.dictionary.cast(pa.string()))
