"""Filters of one generation: from a text to the items that satisfy it, kept for the next time.

Symbols: `N` items.
"""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache, reduce
from operator import iand, ior

from deepmoviematch.data.arrays import Flags
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.server.errors import FilterError, listed, shown
from deepmoviematch.server.filtering.fields import ANYTHING, Booleans, Field, Lists, fields_of
from deepmoviematch.server.filtering.syntax import (
    And,
    Comparison,
    Expression,
    Not,
    Or,
    Value,
    Word,
    comparisons,
    parse,
)

KEPT = 1024
KEPT_BYTES = 1 << 26
"""Compiled filters that are kept at hand."""

ITEM_BYTES = 2 + 1 / 8
"""What one takes for each item at most: a flag, the bit of it that FAISS reads, and, where fewer than
an eighth of the items pass, their rows of eight bytes each.
"""


class Filters:
    """What filters let through; any number of threads may share it."""

    def __init__(self, generation: Generation) -> None:
        """Prepare for the N items of `generation`."""
        self._most = max(1, min(KEPT, int(KEPT_BYTES / (ITEM_BYTES * len(generation.catalogue)))) // 2)
        self._compiler = _Compiler(generation)
        self._recent: dict[str, Selection] = {}  # those asked about since `_older` was
        self._older: dict[str, Selection] = {}

    def allowed(self, text: str) -> Selection:
        """Which items satisfy the filter `text`, which is not blank.

        Raises:
            FilterError: If it is at fault.
        """
        return self.at_hand(text) or self._keep(text, self._compiler.compile(text))

    def notes(self, text: str) -> list[str]:
        """What a caller might not expect of the filter `text`, which is not at fault."""
        return [*dict.fromkeys(self._compiler.notes(text))]

    def at_hand(self, text: str) -> Selection | None:
        """What `allowed` has at hand, and will have for the time being; None if there is nothing."""
        allowed = self._recent.get(text)
        if allowed is None and (allowed := self._older.get(text)) is not None:
            self._keep(text, allowed)
        return allowed

    def _keep(self, text: str, allowed: Selection) -> Selection:
        """Have it at hand, until as many others as are kept have been asked about since."""
        if len(self._recent) >= self._most:
            self._older, self._recent = self._recent, {}
        self._recent[text] = allowed
        return allowed

    def make_ready_as(self, other: "Filters") -> None:
        """Make the fields ready that `other` has been asked about so far."""
        self._compiler.make_ready(other._compiler.ready())


class _Compiler:
    """Refers back to nobody: a cycle would keep a generation in memory until garbage is collected."""

    def __init__(self, generation: Generation) -> None:
        self._fields = {name: cache(make) for name, make in fields_of(generation).items()}
        self._spellings: dict[str, list[str]] = {}
        for name in self._fields:
            self._spellings.setdefault(name.casefold(), []).append(name)

    def ready(self) -> list[str]:
        """Names of the fields that have been asked about."""
        return [name for name, field in self._fields.items() if field.cache_info().currsize]

    def make_ready(self, names: Iterable[str]) -> None:
        """Make those of the fields ready that there are."""
        for name in self._fields.keys() & names:
            self._fields[name]()

    def compile(self, text: str) -> Selection:
        """See `Filters.allowed`; a field is made ready when it is first asked about."""
        allowed = self._evaluated(parse(text))
        allowed.setflags(write=False)
        return Selection(allowed)

    def _evaluated(self, tree: Expression) -> Flags:
        """[N] what satisfies `tree`: an array of its own."""
        match tree:
            case And(parts):
                return reduce(iand, map(self._evaluated, parts))
            case Or(parts):
                return reduce(ior, map(self._evaluated, parts))
            case Not(part):
                return ~self._evaluated(part)
            case Word(value):
                return self._having(value)
            case Comparison(field, operator, value):
                asked = self._field(field)
                anything = operator == ":" and value.pieces == ANYTHING
                return asked.known.copy() if anything else asked.known & asked.matches(tree)

    def notes(self, text: str) -> Iterator[str]:
        """See `Filters.notes`."""
        for asked in comparisons(parse(text)):
            field, value = self._field(asked.field), asked.value
            if isinstance(field, Lists) and value.pieces != ANYTHING and not field.matches(asked).any():
                near = field.near(value.text)
                cure = f"; did you mean {' or '.join(map(shown, near))}?" if near else ""
                yield f"no item has {shown(value.text)} among its {asked.field.text}{cure}"

    def _having(self, word: Value) -> Flags:
        """What has the word in its title."""
        for name in () if word.quoted else self._spellings.get(word.text.casefold(), ()):
            if isinstance(self._fields[name](), Booleans):
                rule = "must compare a field with a value"
                cure = f"say {name} = true, or put the word of a title in quotes"
                raise FilterError(rule, shown(word.text), at=word.at, cure=cure)
        return self._evaluated(Comparison(Value("title", ("title",), word.at), ":", word, word.at))

    def _field(self, name: Value) -> Field:
        """The field spelt so, else the only one that differs in case."""
        spellings = self._spellings.get(name.text.casefold(), [])
        if name.text in self._fields:
            spellings = [name.text]
        if len(spellings) == 1:
            return self._fields[spellings[0]]()
        rule, cure = "must spell a field as the data do", f"say {' or '.join(spellings)}"
        if not spellings:
            near = get_close_matches(name.text.casefold(), self._spellings)
            some = [spelt for folded in near for spelt in self._spellings[folded]]
            rule = "must compare a field of the catalogue"
            cure = f"did you mean {' or '.join(some)}?" if some else f"say {listed(self._fields)}"
        raise FilterError(rule, shown(name.text), at=name.at, cure=cure)
