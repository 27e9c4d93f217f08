"""What becomes of a row that breaks a rule, or of a cell that does alone: an error, or a counted drop."""

from collections import Counter
from typing import Protocol

from deepmoviematch.data.errors import DataError


class BrokenRowError(Exception):
    """A row or a cell of it breaks a rule; a `Gate` decides what becomes of it."""

    def __init__(self, rule: str, got: str, *, cure: str = "") -> None:
        super().__init__(rule, got)
        self.rule = rule
        self.got = got
        self.cure = cure


class RowFile(Protocol):
    """A file of numbered rows."""

    @property
    def name(self) -> str:
        """The file's name."""

    def place(self, number: int) -> str:
        """Where the row is, for people: "ratings.csv:17"."""


class Gate:
    """Keeps broken rows and cells out: by an error, or by a counted drop where leniency was asked for."""

    def __init__(self, *, lenient: bool = False, offered: bool = False) -> None:
        """Decide once.

        Args:
            lenient: Whether to drop and count.
            offered: Whether people may ask for that, so that an error tells them.
        """
        self._lenient = lenient
        self._offered = offered
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._notes: list[str] = []

    def refuse(
        self, file: RowFile, number: int, broken: BrokenRowError, *, what: str = "row", lost: int = 1
    ) -> None:
        """Refuse row `number` of `file`.

        Args:
            file: Where it is.
            number: Which row.
            broken: The rule, the value and, where it is plain, the cure.
            what: "cell" where the rest of the row is kept.
            lost: How many rows are gone with it, itself included.

        Raises:
            DataError: If this gate is not lenient; with place, rule, value and cure.
        """
        if not self._lenient:
            cure = broken.cure and f"; {broken.cure}"
            cure += f"; --lenient drops and counts such {what}s" if self._offered else ""
            raise DataError(f"{file.place(number)}: {broken.rule}, got {broken.got}{cure}") from broken
        self._counts[file.name, what, broken.rule] += lost

    def note(self, sentence: str) -> None:
        """Remember what else people should know, such as what is left out, which is no fault."""
        self._notes.append(sentence)

    @property
    def account(self) -> str:
        """What was left out, for the end of an error of which that may be the cause."""
        return "".join(f"; {sentence}" for sentence in self.dropped)

    @property
    def dropped(self) -> tuple[str, ...]:
        """A sentence for each note, then one for each file and rule that cost rows or cells."""
        return (
            *self._notes,
            *(
                f"{file}: {count:,} {what if count == 1 else f'{what}s'} dropped: {rule}"
                for (file, what, rule), count in self._counts.items()
            ),
        )
