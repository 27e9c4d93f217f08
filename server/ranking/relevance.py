"""What an order begins with: the items in the running, the most relevant first.

Equal scores are in the order of the rows, so there is one order for each question, and a page is
a part of it. Where the search is approximate, its answer may differ from that order. So a walk
keeps what was found for its first page, and goes on with all other items in their exact
order: nothing comes twice and nothing is skipped, whatever was missed.
Symbols: `N` items, `D` embedding width, `K` results.
"""

from collections.abc import Iterable, Set as AbstractSet
from typing import NamedTuple, Protocol

from deepmoviematch.data.arrays import Floats, Longs
from deepmoviematch.indexer.search.batch import nearest_without
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.indexer.search.vectors import VectorIndex


class Scored(NamedTuple):
    """Items and how relevant they are."""

    rows: list[int]
    """[K] rows of the catalogue, best first."""

    scores: list[float]
    """[K] the higher the better."""

    exact: bool = True
    """Whether every item was compared."""

    def part(self, start: int, stop: int) -> "Scored":
        """The items from place `start` to before place `stop`."""
        return Scored(self.rows[start:stop], self.scores[start:stop], self.exact)

    def at(self, places: Iterable[int]) -> "Scored":
        """The items at some places, in the order of `places`."""
        places = [*places]
        return Scored(
            [self.rows[each] for each in places], [self.scores[each] for each in places], self.exact
        )

    def then(self, other: "Scored") -> "Scored":
        """These items, and then others."""
        return Scored(self.rows + other.rows, self.scores + other.scores, self.exact and other.exact)


class Relevance(Protocol):
    """One question to one generation."""

    left: int
    """How many items are in the running."""

    def best(self, count: int) -> Scored:
        """The best `count` items, or all if there are fewer, the quickest way."""

    def exactly(self, count: int) -> Scored:
        """The same, with every item compared."""

    def compares_all(self, count: int) -> bool:
        """Whether `best` is sure to compare every item."""


class Nearest:
    """By the inner product with a vector."""

    def __init__(
        self, index: VectorIndex, vector: Floats, excluded: AbstractSet[int], allowed: Selection | None
    ) -> None:
        """Ask for what is near.

        Args:
            index: N vectors.
            vector: [D] to be near to.
            excluded: Rows that are not in the running.
            allowed: Which items may be in the running; None for every one.
        """
        self._index, self._vector, self._allowed = index, vector, allowed
        if allowed is None:
            self._excluded, self._count = excluded, index.size
        else:
            self._excluded = allowed.among(excluded)
            self._count = allowed.count
        self.left = self._count - len(self._excluded)

    def best(self, count: int) -> Scored:
        """See `Relevance`."""
        return self._best(self._index, count)

    def exactly(self, count: int) -> Scored:
        """See `Relevance`."""
        return self._best(self._index.exact, count)

    def compares_all(self, count: int) -> bool:
        """See `Relevance`."""
        within = None if self._allowed is None else self._count
        return self._index.compares_all(count + len(self._excluded), within)

    def _best(self, index: VectorIndex, count: int) -> Scored:
        [found] = nearest_without(index, self._vector[None], [count], [self._excluded], self._allowed)
        return Scored(*found)


class Popular:
    """By the share of the training users who liked them."""

    def __init__(
        self, popular: Longs, popularity: Floats, excluded: AbstractSet[int], allowed: Selection | None
    ) -> None:
        """Ask for what is popular.

        Args:
            popular: [N] rows by descending popularity.
            popularity: [N] by row.
            excluded: Rows that are not in the running.
            allowed: Which items may be in the running; None for every one.
        """
        self._popularity, self._excluded = popularity, excluded
        self._order = popular
        if allowed is not None:
            self._order = popular[allowed.flags[popular]]
            self._excluded = allowed.among(excluded)
        self.left = len(self._order) - len(self._excluded)

    def best(self, count: int) -> Scored:
        """See `Relevance`."""
        rows = self._order[: count + len(self._excluded)].tolist()
        rows = [row for row in rows if row not in self._excluded][:count]
        return Scored(rows, self._popularity[rows].tolist())

    exactly = best

    def compares_all(self, count: int) -> bool:
        """See `Relevance`."""
        return True


def page_of(relevance: Relevance, start: int, stop: int, ahead: int) -> Scored:
    """The places from `start` to before `stop` of the order.

    Args:
        relevance: What decides it.
        start: 0 for the first page, which may be answered by an approximate search.
        stop: More than `start`.
        ahead: How many places of the first page were answered so; 0 for none.
    """
    if start == 0:
        return relevance.best(stop)
    if ahead == 0:
        return relevance.exactly(stop).part(start, stop)
    head = relevance.best(ahead)
    return head.then(beyond(head, relevance, stop)).part(start, stop)._replace(exact=True)


def beyond(head: Scored, relevance: Relevance, count: int) -> Scored:
    """Those of the `count` most relevant items that are not in `head`, in their exact order."""
    known = frozenset(head.rows)
    everything = relevance.exactly(count)
    return everything.at(place for place, row in enumerate(everything.rows) if row not in known)
