"""Ranks the catalogue of one generation: plain Python and NumPy, no wire.

A `Recommender` answers the same for ever, whatever it makes ready or takes down on the
way, so any number of threads may share one, and a request that holds on to one gets its
whole answer from one generation. Symbols: `B` users, `N` items, `K` results.
"""

import threading
import time
from collections.abc import Callable, Sequence, Set as AbstractSet
from functools import cached_property
from typing import TypeVar
from weakref import WeakSet

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.ratings import TOP_STARS
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.search.batch import nearest_without
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.indexer.search.vectors import VectorIndex
from deepmoviematch.indexer.towers.mlp import unit
from deepmoviematch.server.errors import TitlesLoadingError
from deepmoviematch.server.filtering.filters import Filters
from deepmoviematch.server.ranking.affinity import genre_directions
from deepmoviematch.server.ranking.order import arranged
from deepmoviematch.server.ranking.plan import planned
from deepmoviematch.server.ranking.question import (
    Answer,
    Listing,
    Origin,
    Question,
    Seeds,
    Taste,
    UserEmbedding,
)
from deepmoviematch.server.ranking.relevance import Nearest, Popular, Relevance, Scored, page_of
from deepmoviematch.server.ranking.titles import Titles

NEGATIVE_SHARE = 0.3
"""How much the items to be far from count, where those to be near to count 1.

Held-out users of ml-100k and ml-latest-small named some likes and some low ratings: this finds their other
likes about best, better than 0, and parts them from their other low ratings nearly as well as any share.
"""

NEAREST_GENRES = 50
"""Genres that a user's place is told by."""


CHEAP_ITEMS = 100_000
"""Sixteen users are ranked in some 20 to 30 ms where so many are compared with each."""

CHEAP_S = 0.002
"""A search that takes longer, in seconds of processor time, is not cheap, nor is the next with its filter."""

TITLES_WAIT_S = 0.3
"""How long a call waits while another makes the titles ready, which takes that for some 20,000 of them."""

_Asked = TypeVar("_Asked", bound=Taste | Seeds)


class Recommender:
    """Answers from one generation.

    It is cheap where a plain question takes a millisecond or two at most, as a rule.
    """

    def __init__(self, generation: Generation) -> None:
        """Take a generation that passed its checks."""
        self.generation = generation
        scale = generation.scale
        # Ratings travel as float32, in which 0.7 is less than the 0.7 of a Python float.
        self.lowest, self.highest = float(np.float32(scale.floor)), float(np.float32(scale.top))
        self._rates_in_stars = scale.low >= 0 and scale.top == TOP_STARS
        self._titles_lock = threading.Lock()
        index = generation.index
        self.is_cheap = index.exact is not index or index.size <= CHEAP_ITEMS
        self._slow: WeakSet[Selection] = WeakSet()  # what the last search took long with

    def make_ready_as(self, other: "Recommender") -> None:
        """Make what `other` has been asked for so far, so that no request has to wait for it."""
        for name in tuple(vars(other)):
            if isinstance(getattr(Recommender, name, None), cached_property):
                getattr(self, name)
        if "filters" in vars(other):
            self.filters.make_ready_as(other.filters)
        if "popular" in vars(other.generation):
            _ = self.generation.popular

    def genre_columns(self, name: str) -> tuple[int, ...]:
        """Columns of the genre: the one spelt so, else all that differ in case only."""
        names = self.generation.catalogue.genre_names
        columns = self._genres.get(name.casefold(), ())
        return tuple(column for column in columns if names[column] == name) or columns

    def in_stars(self, history: dict[int, float]) -> dict[int, float]:
        """Express ratings (row -> rating), none of them below `lowest` or above `highest`, in stars."""
        if self._rates_in_stars:
            return history
        ratings = np.array([*history.values()], dtype=np.float32)
        return dict(zip(history, self.generation.scale.stars(ratings).tolist(), strict=True))

    def recommend(self, taste: Taste, listing: Listing) -> Answer:
        """Rank the catalogue for one user; one of whom nothing is known gets the popular items."""
        [answer] = self.recommend_batch([(taste, listing)])
        return answer

    def recommend_batch(self, questions: Sequence[Question]) -> list[Answer]:
        """Rank the catalogue for B users, with one search for those who ask alike.

        Returns:
            B answers, in the order of `questions`: those of `recommend`, bit for bit.
        """
        return self._ranked(questions, self._index, self._vectors)

    def embed(self, taste: Taste) -> UserEmbedding:
        """Where a user is; one of whom nothing is known is where everyone starts from."""
        tower, names = self.generation.user_tower, self.generation.catalogue.genre_names
        likings = tower.embed_one(taste.preferences, taste.history, taste.moment)
        vector = self._vector(taste) if taste.asks_next else likings
        lying = np.flatnonzero(self._genre_directions.any(axis=1))
        cosines = self._genre_directions[lying] @ likings[: tower.width]
        nearest = np.argsort(-cosines, kind="stable")[:NEAREST_GENRES]
        genres = [(names[lying[place]], float(cosines[place])) for place in nearest]
        return UserEmbedding(vector, genres, bool(taste.preferences or taste.history))

    def _ranked(
        self,
        questions: Sequence[tuple[_Asked, Listing]],
        index_of: Callable[[_Asked], VectorIndex | None],
        vectors_of: Callable[[Sequence[_Asked]], Floats],
    ) -> list[Answer]:
        """What is near in an index, or popular without one; plain lists of one index take one search."""
        answers: dict[int, Answer] = {}
        alike: dict[tuple[VectorIndex, Selection | None], list[int]] = {}
        for place, (asked, listing) in enumerate(questions):
            if (index := index_of(asked)) is None:
                answers[place] = self._popular(listing)
            elif _is_plain(listing):
                alike.setdefault((index, listing.allowed), []).append(place)
            else:
                named = _named(asked)
                excluded, [vector] = listing.excluded | named, vectors_of([asked])
                relevance = Nearest(index, vector, excluded, listing.allowed)
                answers[place] = self._answer(relevance, Origin.RETRIEVAL, listing, named=len(named))
        for (index, _), places in alike.items():
            found = self._nearest_many(index, [questions[place] for place in places], vectors_of)
            answers.update(zip(places, found, strict=True))
        return [answers[place] for place in range(len(questions))]

    def _nearest_many(
        self,
        index: VectorIndex,
        questions: Sequence[tuple[_Asked, Listing]],
        vectors_of: Callable[[Sequence[_Asked]], Floats],
    ) -> list[Answer]:
        """The answers to B questions for plain lists; all of them allow the same items."""
        asked, listings = zip(*questions, strict=True)
        vectors, named = vectors_of(asked), [*map(_named, asked)]
        allowed, size = listings[0].allowed, index.size
        excluded = [listing.excluded | each for listing, each in zip(listings, named, strict=True)]
        if allowed is not None:
            size, excluded = allowed.count, [allowed.among(each) for each in excluded]
        began = time.thread_time()
        found = nearest_without(index, vectors, [listing.limit for listing in listings], excluded, allowed)
        self._notice(allowed, began, questions=len(listings))
        return [
            self._answered(Scored(*each), size - len(out), Origin.RETRIEVAL, listing, named=len(left_out))
            for each, out, left_out, listing in zip(found, excluded, named, listings, strict=True)
        ]

    def _index(self, taste: Taste) -> VectorIndex | None:
        """What the vector of the user is searched in, if anything is known of the user."""
        if not (taste.history or taste.preferences):
            return None
        return self.generation.index_for(asks_next=taste.asks_next)

    def _vector(self, taste: Taste) -> Floats:
        """Where the user is, in the space of the question."""
        tower = self.generation.user_tower
        embed = tower.embed_next_one if taste.asks_next else tower.embed_one
        return embed(taste.preferences, taste.history, taste.moment)

    def _vectors(self, tastes: Sequence[Taste]) -> Floats:
        """[B, D] where users are who ask alike."""
        width = self.generation.index_for(asks_next=tastes[0].asks_next).dim
        vectors = np.empty((len(tastes), width), dtype=np.float32)
        told_by_history: list[int] = []
        for place, taste in enumerate(tastes):
            if len(tastes) == 1 or taste.preferences or taste.moment or taste.asks_next:
                vectors[place] = self._vector(taste)
            else:
                told_by_history.append(place)
        if told_by_history:
            histories = [tastes[place].history for place in told_by_history]
            vectors[told_by_history] = self.generation.user_tower.embed_histories(histories)
        return vectors

    def similar(self, seeds: Seeds, listing: Listing) -> Answer:
        """Rank the catalogue by likeness to `seeds`, which are left out."""
        [answer] = self.similar_batch([(seeds, listing)])
        return answer

    def similar_batch(self, questions: Sequence[tuple[Seeds, Listing]]) -> list[Answer]:
        """The same for many, with one search for those who allow the same items: bit for bit the same."""
        return self._ranked(questions, lambda _: self.generation.similar, self._directions)

    def _directions(self, seeds: Sequence[Seeds]) -> Floats:
        """[B, D] where what is like each of the seeds is."""
        return np.stack([*map(self._direction, seeds)])

    def _direction(self, seeds: Seeds) -> Floats:
        """[D] what is near to the positive seeds and far from the negative ones (Rocchio, 1971)."""
        directions = self.generation.directions
        if len(seeds.positive) == 1 and not seeds.negative:
            direction: Floats = directions[seeds.positive[0]]
            return direction
        wanted: Floats = directions[list(seeds.positive)].mean(axis=0)
        if seeds.negative:
            wanted = wanted - NEGATIVE_SHARE * directions[list(seeds.negative)].mean(axis=0)
        [direction] = unit(wanted[None])
        return direction

    def find(self, text: str, listing: Listing) -> Answer:
        """Look items up by title; see `Titles.find`.

        Raises:
            TitlesLoadingError: If another call makes the titles ready, and has not done so after a while.
        """
        found = self._titles.find(text)
        stop = listing.start + listing.limit
        rows, scores = zip(*found[listing.start : stop], strict=True) if found[listing.start :] else ((), ())
        return Answer(rows, scores, Origin.LOOKUP, listing.start, exhausted=len(found) <= stop)

    def _popular(self, listing: Listing) -> Answer:
        generation, began = self.generation, time.thread_time()
        relevance = Popular(generation.popular, generation.popularity, listing.excluded, listing.allowed)
        self._notice(listing.allowed, began)
        return self._answer(relevance, Origin.POPULARITY, listing)

    def _answer(self, relevance: Relevance, origin: Origin, listing: Listing, *, named: int = 0) -> Answer:
        start, stop, style = listing.start, listing.start + listing.limit, listing.style
        if listing.only_plan:
            plan = planned(relevance, start, stop, style)
            nothing = Scored([], [], plan.exact)
            answer = self._answered(nothing, relevance.left, origin, listing, named=named)
            return answer._replace(plan=plan, exhausted=plan.is_last)
        if style is None:
            page = page_of(relevance, start, stop, listing.ahead)
            return self._answered(page, relevance.left, origin, listing, named=named)
        styled = arranged(relevance, start, stop, style, self.generation)
        answer = self._answered(styled.page, relevance.left, origin, listing, named=named)
        answer = answer._replace(exhausted=styled.is_last, figures=styled.figures)
        if not style.exploration:
            return answer
        return answer._replace(explored=styled.explored, propensities=styled.propensities)

    def _answered(
        self, page: Scored, left: int, origin: Origin, listing: Listing, *, named: int = 0
    ) -> Answer:
        """The answer with a page out of `left` items in the running.

        It does not count as filtered what was left out without anybody asking for it, as what is `named`.
        """
        return Answer(
            page.rows,
            page.scores,
            origin,
            listing.start,
            listing.ahead if page.exact else len(page.rows),
            filtered_out=len(self.generation.catalogue) - left - named,
            exhausted=listing.start + len(page.rows) >= left,
            exact=page.exact,
        )

    @cached_property
    def filters(self) -> Filters:
        """Made when the first filter comes."""
        return Filters(self.generation)

    def is_cheap_with(self, text: str) -> bool:
        """Whether a filter is compiled and at hand, and the last search with it was not long.

        It is where an approximate search has to go far, as the filter keeps out what is near.
        """
        allowed = self.filters.at_hand(text) if "filters" in vars(self) else None
        return allowed is not None and allowed not in self._slow

    @cached_property
    def _genres(self) -> dict[str, tuple[int, ...]]:
        """Name in one case -> columns."""
        columns: dict[str, tuple[int, ...]] = {}
        for column, name in enumerate(self.generation.catalogue.genre_names):
            columns[name.casefold()] = (*columns.get(name.casefold(), ()), column)
        return columns

    @cached_property
    def _genre_directions(self) -> Floats:
        """[G, width] where genres lie among tastes; see `genre_directions`."""
        generation = self.generation
        items = unit(generation.index.exact.view[:, : generation.user_tower.width])
        return genre_directions(items, generation.catalogue.genres, generation.popularity)

    def _notice(self, allowed: Selection | None, began: float, *, questions: int = 1) -> None:
        """Take down whether to find some for each question among the items allowed has taken long this time.

        The first time it may, for what searches need to know of those items is worked out then.
        """
        if allowed is None:
            return
        if time.thread_time() - began > CHEAP_S * questions:
            self._slow.add(allowed)
        else:
            self._slow.discard(allowed)

    @property
    def _titles(self) -> Titles:
        """Built when first asked for: callers that know their ids never pay for it."""
        if not self._titles_lock.acquire(timeout=TITLES_WAIT_S):
            raise TitlesLoadingError  # else the first look-ups would hold all threads
        try:
            return self._built_titles
        finally:
            self._titles_lock.release()

    @cached_property
    def _built_titles(self) -> Titles:
        return Titles(self.generation.catalogue, self.generation.popular)


def _is_plain(listing: Listing) -> bool:
    """Whether the best items are the list."""
    return listing.start == 0 and listing.style is None and not listing.only_plan


def _named(asked: Taste | Seeds) -> AbstractSet[int]:
    """What is left out without anybody asking for it."""
    return frozenset() if isinstance(asked, Taste) else frozenset(asked.positive).union(asked.negative)
