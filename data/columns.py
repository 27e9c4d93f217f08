"""What else is known of items: further columns of a catalogue. Symbols: `N` items."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from deepmoviematch.data.errors import DataError

Value: TypeAlias = float | bool | str | tuple[str, ...] | None


class Kind(StrEnum):
    """What the values of a column are."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"
    LIST = "list"


@dataclass(frozen=True, eq=False)
class Column:
    """One value of one kind for each item."""

    name: str
    kind: Kind

    values: tuple[Value, ...]
    """[N] finite numbers, booleans, texts, or tuples of texts; None where unknown."""

    def __post_init__(self) -> None:
        """Hold the column to its kind."""
        if not self.name:
            raise DataError("a column must have a name, got none")
        holds = _HOLDS[self.kind]
        for value in self.values:
            if value is not None and not holds(value):
                raise DataError(f"column {self.name} must hold values of kind {self.kind}, got {value!r:.80}")

    def to_json(self) -> dict[str, Any]:
        """The column as plain values, for `from_json`."""
        return {"name": self.name, "kind": self.kind.value, "values": list(self.values)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Column":
        """The column that `to_json` described.

        Raises:
            DataError, KeyError, TypeError, ValueError, OverflowError: If it is not whole.
        """
        kind = Kind(stored["kind"])
        values = stored["values"]
        if kind is Kind.NUMBER:
            values = (value if value is None else float(value) for value in values)
        elif kind is Kind.LIST:
            values = (value if value is None else tuple(value) for value in values)
        return cls(str(stored["name"]), kind, tuple(values))


_HOLDS: dict[Kind, Callable[[Any], bool]] = {
    Kind.NUMBER: lambda value: type(value) is float and math.isfinite(value),
    Kind.BOOLEAN: lambda value: type(value) is bool,
    Kind.TEXT: lambda value: type(value) is str,
    Kind.LIST: lambda value: type(value) is tuple and all(type(entry) is str for entry in value),
}
