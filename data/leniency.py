"""What becomes of a row that breaks a rule: an error, or a counted drop."""

from collections import Counter
from typing import Protocol

from deepmoviematch.data.errors import DataError


class BrokenRowError(Exception):
    """A row breaks a rule; a `Gate` decides what becomes of it."""

    def __init__(self, rule: str, got: str) -> None:
        super().__init__(rule, got)
        self.rule = rule
        self.got = got


class RowFile(Protocol):
    """A file of numbered rows."""

    @property
    def name(self) -> str:
        """The file's name."""

    def place(self, number: int) -> str:
        """Where the row is, for people: "ratings.csv:17"."""


class Gate:
    """Keeps broken rows out: by an error, or by a counted drop where leniency was asked for."""

    def __init__(self, *, lenient: bool = False) -> None:
        self._lenient = lenient
        self._counts: Counter[tuple[str, str]] = Counter()
        self._notes: list[str] = []

    def refuse(self, file: RowFile, number: int, broken: BrokenRowError) -> None:
        """Refuse row `number` of `file`.

        Raises:
            DataError: If this gate is not lenient; with place, rule and value.
        """
        if not self._lenient:
            raise DataError(f"{file.place(number)}: {broken.rule}, got {broken.got}") from broken
        self._counts[file.name, broken.rule] += 1

    def note(self, sentence: str) -> None:
        """Remember what else is left out, which is no fault."""
        self._notes.append(sentence)

    @property
    def dropped(self) -> tuple[str, ...]:
        """A sentence for each thing left out, then one for each file and rule that cost rows."""
        return (
            *self._notes,
            *(
                f"{file}: {count:,} {'row' if count == 1 else 'rows'} dropped: {rule}"
                for (file, rule), count in self._counts.items()
            ),
        )
