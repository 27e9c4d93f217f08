"""Ranks the catalogue of one generation: plain Python and NumPy, no wire.

A `Recommender` never changes, so any number of threads may share one, and a
request that holds on to one gets its whole answer from one generation. Symbols:
`B` users, `N` items, `K` results.
"""

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cached_property

from deepmoviematch.data.features import UserBatch
from deepmoviematch.data.tables import Floats, Times
from deepmoviematch.indexer.generation import Generation

from .titles import Titles


class Origin(Enum):
    """Where results came from."""

    RETRIEVAL = auto()
    POPULARITY = auto()
    LOOKUP = auto()


@dataclass(frozen=True)
class Taste:
    """A user to rank for, in rows and columns of one generation."""

    limit: int
    """How many results, at least 1."""

    preferences: Mapping[int, float] = field(default_factory=dict)
    """Genre column -> stars."""

    history: Mapping[int, float] = field(default_factory=dict)
    """Catalogue row -> stars."""

    excluded: frozenset[int] = frozenset()
    """Rows never to return."""

    asks_next: bool = False
    """Whether the order of `history`, the oldest first, counts."""


@dataclass(frozen=True)
class Answer:
    """Ranked items and how they came about."""

    rows: Sequence[int]
    """[K] rows of the catalogue, best first."""

    scores: Sequence[float]
    """[K] the higher the better."""

    origin: Origin

    filtered_out: int = 0
    """How many items were kept out of the running."""

    exhausted: bool = False
    """Whether every item left in the running is among `rows`."""


class Recommender:
    """Answers from one generation."""

    def __init__(self, generation: Generation) -> None:
        """Take a generation that passed its checks."""
        self.generation = generation
        self._titles_lock = threading.Lock()

    def genre_columns(self, name: str) -> tuple[int, ...]:
        """Columns of the genre: the one spelt so, else all that differ in case only."""
        names = self.generation.catalogue.genre_names
        columns = self._genres.get(name.casefold(), ())
        return tuple(column for column in columns if names[column] == name) or columns

    def recommend(self, tastes: Sequence[Taste]) -> list[Answer]:
        """Rank the catalogue for B users, with one pass through the user tower.

        A user of whom nothing is known gets the popular items.

        Returns:
            B answers, in the order of `tastes`.
        """
        if not tastes:
            return []
        generation = self.generation
        users = UserBatch.of(
            len(generation.catalogue.genre_names),
            [taste.preferences for taste in tastes],
            [taste.history for taste in tastes],
            [taste.asks_next for taste in tastes],
        )
        vectors = generation.user_tower.embed(users)  # [B, D]
        return [
            self._nearest(vector, taste) if known else self._popular(taste)
            for vector, taste, known in zip(vectors, tastes, users.has_features, strict=True)
        ]

    def similar(self, row: int, limit: int, excluded: frozenset[int]) -> Answer:
        """Rank the catalogue by likeness to the item in `row`, which is left out."""
        out = excluded | {row}
        hits = self.generation.similar.search(self.generation.directions[row][None], limit + len(out))
        rows, scores = _kept(hits.rows[0], hits.scores[0], out, limit)
        left = len(self.generation.catalogue) - len(out)
        return Answer(rows, scores, Origin.RETRIEVAL, len(out) - 1, exhausted=len(rows) == left)

    def find(self, text: str, limit: int) -> Answer:
        """Look items up by title; see `Titles.find`."""
        found = self._titles.find(text)
        rows = [row for row, _ in found[:limit]]
        scores = [score for _, score in found[:limit]]
        return Answer(rows, scores, Origin.LOOKUP, exhausted=len(found) <= limit)

    def _nearest(self, vector: Floats, taste: Taste) -> Answer:
        # As many more as there are exclusions: whatever is dropped, enough are left.
        hits = self.generation.index.search(vector[None], taste.limit + len(taste.excluded))
        return self._answer(hits.rows[0], hits.scores[0], taste, Origin.RETRIEVAL)

    def _popular(self, taste: Taste) -> Answer:
        rows = self.generation.popular[: taste.limit + len(taste.excluded)]
        return self._answer(rows, self.generation.popularity[rows], taste, Origin.POPULARITY)

    def _answer(self, rows: Times, scores: Floats, taste: Taste, origin: Origin) -> Answer:
        kept, kept_scores = _kept(rows, scores, taste.excluded, taste.limit)
        left = len(self.generation.catalogue) - len(taste.excluded)
        return Answer(kept, kept_scores, origin, len(taste.excluded), exhausted=len(kept) == left)

    @cached_property
    def _genres(self) -> dict[str, tuple[int, ...]]:
        """Name in one case -> columns."""
        columns: dict[str, tuple[int, ...]] = {}
        for column, name in enumerate(self.generation.catalogue.genre_names):
            columns[name.casefold()] = (*columns.get(name.casefold(), ()), column)
        return columns

    @property
    def _titles(self) -> Titles:
        """Built when first asked for: callers that know their ids never pay for it."""
        with self._titles_lock:
            return self._built_titles

    @cached_property
    def _built_titles(self) -> Titles:
        return Titles(self.generation.catalogue, self.generation.popular)


def _kept(
    rows: Iterable[int], scores: Iterable[float], excluded: Collection[int], limit: int
) -> tuple[list[int], list[float]]:
    """The first `limit` of the ranking that are not excluded."""
    kept = [(int(row), float(score)) for row, score in zip(rows, scores, strict=True) if row not in excluded]
    return [row for row, _ in kept[:limit]], [score for _, score in kept[:limit]]
