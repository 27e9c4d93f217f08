"""Finds items by what people call them.

"Matrix, The (1999)", "the matrix" and "MATRIX" are one title: case, accents,
punctuation and English articles do not count, and the year may be left out.
What stands in parentheses is a title of its own, so "Seven (a.k.a. Se7en)"
answers to both names.
"""

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import TypeAlias

from deepmoviematch.data.tables import UNKNOWN_YEAR, Catalogue, Times

Matches: TypeAlias = list[tuple[int, float]]

_YEAR = re.compile(r"\((\d{4})\)\s*$")
_ASIDE = re.compile(r"\(([^()]*)\)")
_ALIAS = re.compile(r"^\s*a\.?k\.?a\.?\s+", re.IGNORECASE)
_LAST_ARTICLE = re.compile(r"^(.*),\s*(\w+['’]?)$")  # "Haine, La"
_SILENT = re.compile(r"['’`]")
_GAP = re.compile(r"[\W_]+")
_ARTICLES = {"a", "an", "the"}
_MOVED = _ARTICLES | {"la", "le", "les", "l'", "il", "lo", "i", "gli", "un", "une", "una", "uno"}
_MOVED |= {"el", "los", "las", "der", "die", "das", "den", "det", "o", "os", "as"}


@dataclass(frozen=True)
class _Asked:
    """A title as somebody typed it."""

    key: str
    words: frozenset[str]
    year: int | None


class Titles:
    """The titles of a catalogue, ready to be looked up.

    Building takes about ten microseconds a title, a look-up well under a
    millisecond.
    """

    def __init__(self, catalogue: Catalogue, popular: Times) -> None:
        """Take the catalogue and its rows [N], the most popular first."""
        self._catalogue = catalogue
        self._place = {int(row): place for place, row in enumerate(popular)}
        self._whole: defaultdict[str, list[int]] = defaultdict(list)
        self._having: defaultdict[str, set[int]] = defaultdict(set)
        self._words: list[frozenset[str]] = []
        for row, title in enumerate(catalogue.titles):
            for name in _names(title):
                self._whole[_key(name)].append(row)
            words = _words(title)
            if catalogue.years[row] != UNKNOWN_YEAR:
                words |= {str(catalogue.years[row])}
            self._words.append(words)
            for word in words:
                self._having[word].add(row)

    def find(self, text: str) -> Matches:
        """The items that `text` may mean, best first.

        Args:
            text: An item id, a title, or words of it.

        Returns:
            Rows and scores: the item with that very id (score 1), whole titles
            (1), then titles with all the words (the share of their words that
            was asked for); popular items first among equals.
        """
        asked = _asked(text)
        found = dict.fromkeys(self._whole_matches(asked), 1.0)
        if text in self._catalogue.row_of:
            found = {self._catalogue.row_of[text]: 1.0} | found
        exact = len(found)
        for row in self._partial_matches(asked):
            found.setdefault(row, min(0.99, len(asked.words) / max(1, len(self._words[row]))))
        ranked = list(found.items())
        return ranked[:exact] + sorted(ranked[exact:], key=lambda match: self._place[match[0]])

    def _whole_matches(self, asked: _Asked) -> list[int]:
        rows = self._whole.get(asked.key, [])
        if asked.year is not None:
            rows = [row for row in rows if self._catalogue.years[row] in (asked.year, UNKNOWN_YEAR)]
        return sorted(rows, key=self._place.__getitem__)

    def _partial_matches(self, asked: _Asked) -> set[int]:
        with_year = asked.words if asked.year is None else asked.words | {str(asked.year)}
        # A wrong year is a common slip, so it does not hide the title it was put to.
        return self._with_all(with_year) or self._with_all(asked.words)

    def _with_all(self, words: frozenset[str]) -> set[int]:
        sets = sorted((self._having.get(word, set()) for word in words), key=len)
        return set.intersection(*sets) if sets else set()


def _asked(text: str) -> _Asked:
    year = _YEAR.search(text)
    title = text[: year.start()] if year else text
    if year and not title.strip():  # the year is all there is: "(1984)"
        year, title = None, text
    return _Asked(key=_key(title), words=_words(title), year=int(year.group(1)) if year else None)


def _names(title: str) -> set[str]:
    """What an item answers to: its title, the part outside parentheses, each part inside."""
    asides = [_ALIAS.sub("", aside) for aside in _ASIDE.findall(title)]
    names = {title, _ASIDE.sub(" ", title), *asides}
    return {name for name in names if _plain(name)} or {title}


def _key(title: str) -> str:
    """What equal titles have in common."""
    moved = _LAST_ARTICLE.match(title.strip())
    if moved and moved.group(2).casefold().replace("’", "'") in _MOVED:
        title = f"{moved.group(2)} {moved.group(1)}"
    words = _plain(title).split()
    if len(words) > 1 and words[0] in _ARTICLES:
        words = words[1:]
    return " ".join(words) or title.strip().casefold()


def _words(title: str) -> frozenset[str]:
    words = frozenset(_plain(title).split())
    return words - _ARTICLES or words


def _plain(title: str) -> str:
    """Lower case without accents and punctuation."""
    letters = unicodedata.normalize("NFKD", title.replace("&", " and ").casefold())
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return _GAP.sub(" ", _SILENT.sub("", bare)).strip()
