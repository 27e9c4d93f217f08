"""Files of rows as Parquet, with the same names for the columns as in CSV."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
from pyarrow import compute, parquet

from deepmoviematch.data.cells import SEPARATOR
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.leniency import BrokenRowError, Gate
from deepmoviematch.data.sheets import FURTHER, GENRES, LABEL, ColumnType, Row, check_row, pick_columns


class ParquetSheet:
    """Rows of a Parquet file; rows are numbered from 1."""

    def __init__(
        self,
        path: Path,
        gate: Gate,
        required: Mapping[str, ColumnType],
        optional: Mapping[str, ColumnType] = MappingProxyType({}),
        *,
        further: bool = False,
    ) -> None:
        """Read the schema.

        Args:
            path: The file.
            gate: Where broken rows go.
            required: Columns that must be there.
            optional: Columns that may be.
            further: Whether all other columns of a type that can be told are wanted too.

        Raises:
            DataError: If the file is not Parquet, lacks a required column, or holds one of another type.
        """
        self.name = path.name
        self._path = path
        self._gate = gate
        try:
            schema = parquet.read_schema(path)
        except (pa.ArrowException, OSError, UnicodeError) as error:
            cause = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
            raise DataError(f"{self.name}: the file must be Parquet, got {cause}") from error
        types = {**required, **optional}
        if further:
            others = [field for field in schema if field.name not in types]
            types |= {field.name: FURTHER for field in others if FURTHER.accepts(_value_type(field.type))}
            for field in others:
                if field.name not in types:
                    gate.note(
                        f"{self.name}: column {field.name} is left out: it must be {FURTHER.words}, "
                        f"got {field.type}"
                    )
        self.columns = pick_columns(self.name, schema.names, required, types)
        self._types = [types[name] for name in self.columns]
        for name, column_type in zip(self.columns, self._types, strict=True):
            found = _value_type(schema.field(name).type)
            if not column_type.accepts(found):
                raise DataError(f"{self.name}: column {name} must be {column_type.words}, got {found}")

    def place(self, number: int) -> str:
        """See `RowFile.place`."""
        return f"{self.name}: row {number}"

    def rows(self) -> Iterator[Row]:
        """See `Sheet.rows`; a missing value is an empty cell."""
        number = 0
        for batch in self._raw_batches():
            columns = [
                _texts(column) if column_type in (FURTHER, GENRES) else _plain(column).to_pylist()
                for column_type, column in zip(self._types, batch.columns, strict=True)
            ]
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
                _encoded(
                    _plain(column).fill_null("") if column_type is LABEL else _plain(column), column_type.fast
                )
                for column_type, column in zip(self._types, batch.columns, strict=True)
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


def _texts(column: pa.Array) -> list[str | None]:
    """A column as CSV would have it: an empty list is an empty cell, and so is NaN, pandas' word for null."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        # The last separator tells a list of one from a text.
        lists = column.to_pylist()
        return [
            None if entries is None else "".join(f"{entry or ''}{SEPARATOR}" for entry in entries)
            for entries in lists
        ]
    if pa.types.is_floating(column.type):
        column = compute.if_else(compute.is_nan(column), None, column)
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    return texts


def _encoded(column: pa.Array, fast: pa.DataType) -> pa.Array:
    if not pa.types.is_dictionary(fast):
        return column.cast(fast, safe=False)
    codes = column.dictionary_encode()
    return pa.DictionaryArray.from_arrays(codes.indices, codes.dictionary.cast(pa.string()))
