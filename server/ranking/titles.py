"""Finds items by what people call them.

"Matrix, The (1999)", "the matrix" and "MATRIX" are one title: case, accents,
punctuation and English articles do not count, and the year may be left out.
What stands in parentheses is a title of its own, so "Seven (a.k.a. Se7en)"
answers to both names. Where a script puts no spaces between words, any part of a
title is a word of it: "千尋" is one of "千と千尋の神隠し".
"""

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import TypeAlias

from deepmoviematch.data.arrays import Longs
from deepmoviematch.data.catalogue import UNKNOWN_YEAR, Catalogue

Matches: TypeAlias = list[tuple[int, float]]

_YEAR = re.compile(r"\((\d{4})\)\s*$")
_ASIDE = re.compile(r"\(([^()]*)\)")
_ALIAS = re.compile(r"^\s*a\.?k\.?a\.?\s+", re.IGNORECASE)
_LAST_ARTICLE = re.compile(r"^(.*),\s*(\w+)\s*$")  # "Haine, La"
_SILENT = re.compile(r"['’`]")
_GAP = re.compile(r"[\W_]+")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"  # kana, Han
)
_ARTICLES = {"a", "an", "the"}
_MOVED = _ARTICLES | {"la", "le", "les", "l", "il", "lo", "i", "gli", "un", "une", "una", "uno"}
_MOVED |= {"el", "los", "las", "der", "die", "das", "den", "det", "o", "os", "as"}


@dataclass(frozen=True)
class _TypedTitle:
    """A title as somebody typed it."""

    key: str
    words: frozenset[str]
    year: int | None


class Titles:
    """The titles of a catalogue, ready to be looked up.

    Building takes about fifteen microseconds a title, a look-up a millisecond or so.
    """

    def __init__(self, catalogue: Catalogue, popular: Longs) -> None:
        """Take the catalogue and its rows [N], the most popular first."""
        self._catalogue = catalogue
        self._place = {int(row): place for place, row in enumerate(popular)}
        self._whole: defaultdict[str, list[int]] = defaultdict(list)
        self._having: defaultdict[str, set[int]] = defaultdict(set)
        self._words: list[frozenset[str]] = []
        self._unspaced: dict[int, str] = {}  # the words of titles in scripts without spaces
        for row, (title, year) in enumerate(zip(catalogue.titles, catalogue.years.tolist(), strict=True)):
            tokens = _tokens(title)
            for key in _keys(title, tokens):
                self._whole[key].append(row)
            words = _words(tokens) | ({str(year)} if year != UNKNOWN_YEAR else set())
            self._words.append(words)
            if _UNSPACED.search(text := " ".join(words)):
                self._unspaced[row] = text
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

    def _whole_matches(self, asked: _TypedTitle) -> list[int]:
        rows = self._whole.get(asked.key, [])
        if asked.year is not None:
            rows = [row for row in rows if self._catalogue.years[row] in (asked.year, UNKNOWN_YEAR)]
        return sorted(rows, key=self._place.__getitem__)

    def _partial_matches(self, asked: _TypedTitle) -> set[int]:
        with_year = asked.words if asked.year is None else asked.words | {str(asked.year)}
        # A wrong year is a common slip, so it does not hide the title it was put to.
        return self._with_all(with_year) or self._with_all(asked.words)

    def _with_all(self, words: frozenset[str]) -> set[int]:
        parts = {word for word in words if _UNSPACED.search(word)}
        sets = [self._having.get(word, set()) for word in words - parts]
        if parts:
            sets.append(set(self._unspaced))
        rows = set.intersection(*sorted(sets, key=len)) if sets else set()
        for part in parts:
            rows = {row for row in rows if part in self._unspaced[row]}
        return rows


def _asked(text: str) -> _TypedTitle:
    year = _YEAR.search(text)
    title = text[: year.start()] if year else text
    if year and not title.strip():  # the year is all there is: "(1984)"
        year, title = None, text
    tokens = _tokens(title)
    return _TypedTitle(_key(title, tokens), _words(tokens), int(year.group(1)) if year else None)


def _keys(title: str, tokens: list[str]) -> set[str]:
    """What an item answers to: its title, the part outside parentheses, each part inside."""
    keys = {_key(title, tokens)}
    if "(" in title:
        parts = [_ASIDE.sub(" ", title), *(_ALIAS.sub("", aside) for aside in _ASIDE.findall(title))]
        keys |= {_key(part, tokens) for part in parts if (tokens := _tokens(part))}
    return keys


def _key(title: str, tokens: list[str]) -> str:
    """What equal titles have in common."""
    if len(tokens) > 1 and tokens[0] in _ARTICLES:
        tokens = tokens[1:]
    return " ".join(tokens) or title.strip().casefold()


def _words(tokens: list[str]) -> frozenset[str]:
    words = frozenset(tokens)
    return words - _ARTICLES or words


def _tokens(title: str) -> list[str]:
    """The words in lower case, without accents and punctuation, an article first."""
    title = _SILENT.sub("", title.casefold().replace("&", " and "))
    if not title.isascii():
        letters = unicodedata.normalize("NFKD", title)
        title = "".join(letter for letter in letters if not unicodedata.combining(letter))
    moved = _LAST_ARTICLE.match(title)
    if moved and moved.group(2) in _MOVED:
        title = f"{moved.group(2)} {moved.group(1)}"
    return _GAP.sub(" ", title).split()
