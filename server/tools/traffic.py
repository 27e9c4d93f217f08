"""The questions of a load test: what callers would ask.

Histories are those of a data set's users, so that lengths and popularity are real; where
there is no data set they are drawn from the server's popular items.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from deepmoviematch.client import Client, pb
from deepmoviematch.server.errors import LoadTestError
from deepmoviematch.server.tools.questions import Batch, CheckedCall, Embedding, Learnt, ListCall, adds_up

SIZES = (5, 10, 20, 50)
LONGEST = 100
"""Interactions of a history; of a longer one the last."""

LARGEST_BATCH = 16
MOST_PAGES = 5

CATALOGUE_PAGES = 10
"""Of up to so many pages of items the test asks for all, to know an id that does not exist."""

_PAGE = 1000

_ROWS = 2_000_000
"""Of a larger file the first so many ratings are read."""

Histories: TypeAlias = list[list[tuple[str, float | None]]]
"""Item and rating, None for a like, by user."""


def read_histories(folder: Path) -> Histories:
    """Who rated what, in the order of the file, from the `ratings.csv` in `folder`.

    Raises:
        LoadTestError: If there is no such file or it has other columns.
    """
    path = folder / "ratings.csv"
    histories: dict[str, list[tuple[str, float | None]]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            for row, _ in zip(rows, range(_ROWS), strict=False):
                if None in row.values():
                    raise ValueError(f"a short line {rows.line_num}")
                histories.setdefault(row["userId"], []).append((row["movieId"], float(row["rating"])))
    except OSError as error:
        raise LoadTestError(
            f"--data must be a folder with a ratings.csv, which is all that a load test reads, got {error}; "
            "leave --data out to have users made up"
        ) from error
    except (KeyError, ValueError, csv.Error) as error:
        raise LoadTestError(
            f"{path} must have the columns userId, movieId and rating, got {error!r}; "
            "python -m deepmoviematch.data fetch writes such a file"
        ) from error
    if not histories:
        raise LoadTestError(f"{path} must hold ratings, got none")
    return list(histories.values())


class Traffic:
    """Draws questions, one after the other."""

    def __init__(self, client: Client, histories: Histories | None, *, seed: int) -> None:
        """Learn from the server what it knows.

        Args:
            client: Asks the server.
            histories: Items and ratings of users; None makes some up.
            seed: The same draws the same questions.

        Raises:
            LoadTestError: If the server knows no item of the histories.
            CallError: If it does not answer.
        """
        self._rng = np.random.default_rng(seed)
        first = client.recommend(pb.RecommendRequest(page_size=_PAGE))
        popular = first.results
        self._popular = {item.item_id: item for item in popular}
        self._genres = sorted({genre for item in popular for genre in item.genres})
        self._learnt = _learn(client, first)
        self._years = [item.year for item in popular if item.year] or [2000]
        if histories is None:
            histories = self._made_up(list(self._popular))
        ids = list(dict.fromkeys(item for history in histories for item, _ in history))[:10_000]
        asked = pb.UserFeatures(history=[pb.Interaction(item_id=item) for item in ids])
        unknown = set(client.recommend(pb.RecommendRequest(user=asked)).missing_item_ids)
        known = set(ids) - unknown
        mine = ([each for each in history if each[0] in known] for history in histories)
        self._histories = [history for history in mine if history]
        if not self._histories:
            raise LoadTestError(
                "the server must know items of the data set, got none; name its own --data (make: DATA=)"
            )

    def draw(self) -> CheckedCall:
        """The next question."""
        kinds = _KINDS if self._genres else {**_KINDS, Traffic._taste: 0.0}
        shares = np.array(list(kinds.values()))
        kind = list(kinds)[self._rng.choice(len(kinds), p=shares / shares.sum())]
        return kind(self, int(self._rng.choice(SIZES)))

    def _history(self) -> list[tuple[str, float | None]]:
        history = self._histories[self._rng.integers(len(self._histories))]
        length = int(self._rng.integers(1, min(len(history), LONGEST) + 1))
        start = int(self._rng.integers(len(history) - length + 1))
        return history[start : start + length]

    def _recommend(self, size: int, *, asks_next: bool = False) -> ListCall:
        history = self._history()
        user = pb.UserFeatures(
            history=[pb.Interaction(item_id=item, rating=rating) for item, rating in history]
        )
        intent = pb.INTENT_NEXT if asks_next else pb.INTENT_TASTE
        request = pb.RecommendRequest(user=user, page_size=size, intent=intent)
        return self._question("Recommend", request, size, {item for item, _ in history})

    def _question(self, call: str, request: Any, size: int, absent: set[str]) -> ListCall:
        left = len(self._popular) - len(absent & self._popular.keys())
        return ListCall(call, request, size, frozenset(absent), available=left, learnt=self._learnt)

    def _explained(self, size: int) -> ListCall:
        question = self._recommend(size)
        question.request.explain = True
        return replace(question, fits=adds_up)

    def _next(self, size: int) -> ListCall:
        return self._recommend(size, asks_next=True)

    def _earlier(self, size: int) -> ListCall:
        """What a user would have been told earlier, when only some of the history had happened."""
        history = self._history()
        known = int(self._rng.integers(len(history) + 1))
        user = pb.UserFeatures()
        for second, (item, rating) in enumerate(history, start=1):
            user.history.add(item_id=item, rating=rating, time=Timestamp(seconds=second))
        request = pb.RecommendRequest(user=user, page_size=size, as_of=Timestamp(seconds=known))
        return self._question("Recommend", request, size, {item for item, _ in history[:known]})

    def _told(self, size: int) -> ListCall:
        """A question at a moment, which a generation may read or not."""
        question = self._recommend(size, asks_next=bool(self._rng.integers(2)))
        context = question.request.user.context
        context.hour, context.weekday = int(self._rng.integers(24)), int(self._rng.integers(8))
        context.device = str(self._rng.choice(["", "tv", "phone", "Toaster"]))
        question.request.explain = explains = bool(self._rng.integers(2))
        return replace(question, fits=adds_up) if explains else question

    def _taste(self, size: int) -> ListCall:
        count = int(self._rng.integers(1, min(5, len(self._genres)) + 1))
        names = self._rng.choice(self._genres, count, replace=False)
        stars = self._rng.integers(1, 11, count) / 2
        preferences = {str(name): float(each) for name, each in zip(names, stars, strict=True)}
        user = pb.UserFeatures(genre_preferences=preferences)
        return self._question("Recommend", pb.RecommendRequest(user=user, page_size=size), size, set())

    def _similar(self, size: int) -> ListCall:
        (item, _), *rest = self._history()
        excluded = [other for other, _ in rest[:3]]
        request = pb.SimilarItemsRequest(item_id=item, page_size=size, exclude_item_ids=excluded)
        return self._question("SimilarItems", request, size, {item, *excluded})

    def _seeds(self, size: int) -> ListCall:
        items = [item for item, _ in self._history()]
        near, far = items[:2], items[2:3]
        request = pb.SimilarItemsRequest(positive_item_ids=near, negative_item_ids=far, page_size=size)
        return self._question("SimilarItems", request, size, {*near, *far})

    def _recommend_filtered(self, size: int) -> ListCall:
        return self._filtered(self._recommend(size))

    def _similar_filtered(self, size: int) -> ListCall:
        return self._filtered(self._similar(size))

    def _filtered(self, question: ListCall) -> ListCall:
        """The question with a filter; its results show whether they satisfy it."""
        genre, year = str(self._rng.choice(self._genres or ["none"])), int(self._rng.choice(self._years))
        has, since = f"genres:{_quoted(genre)}", f"year >= {year}"

        def having(item: pb.Recommendation) -> bool:
            return genre.casefold() in map(str.casefold, item.genres)

        filters: list[tuple[str, Callable[[pb.Recommendation], bool]]] = [
            (has, having),
            (f"{has} OR {since}", lambda item: having(item) or item.year >= year),
            (f"NOT {has} {since}", lambda item: not having(item) and item.year >= year),
        ]
        question.request.filter, fits = filters[self._rng.integers(len(filters))]
        return self._limited(question, fits)

    def _limited(self, question: ListCall, fits: Callable[[pb.Recommendation], bool]) -> ListCall:
        """The question when only what `fits` is in the running."""
        left = self._popular.keys() - question.absent
        return replace(question, fits=fits, available=sum(fits(self._popular[item]) for item in left))

    def _among(self, size: int) -> ListCall:
        """A question about some items alone."""
        question = self._recommend(size)
        among = {item for _ in range(5) for item, _ in self._history()}
        question.request.candidate_item_ids.extend(sorted(among))
        return self._limited(question, lambda item: item.item_id in among)

    def _walked(self, size: int) -> ListCall:
        """A question that goes on for a few pages."""
        kinds = Traffic._recommend, Traffic._similar, Traffic._recommend_filtered, Traffic._styled
        question = kinds[self._rng.integers(len(kinds))](self, size)
        return replace(question, pages=int(self._rng.integers(2, MOST_PAGES + 1)))

    def _styled(self, size: int) -> ListCall:
        """A question for more than what is most relevant."""
        question = self._recommend(size)
        request = question.request
        request.diversity.strength, request.novelty = self._rng.choice([0, 0.3, 0.7], 2).tolist()
        request.diversity.max_per_genre = int(self._rng.choice([0, 0, 50]))
        request.exploration.share = share = float(self._rng.choice([0, 0.2]))
        request.exploration.seed = int(self._rng.integers(2**32))
        return replace(
            question,
            descends=False,
            fits=lambda item: (item.propensity > 0) == (share > 0),
            available=0 if request.diversity.max_per_genre else question.available,
        )

    def _found(self, _: int) -> ListCall:
        """A look-up of an item by its id, of which there is one."""
        ids = list(self._popular)
        wanted = ids[self._rng.integers(len(ids))]
        request = pb.FindItemsRequest(title=wanted, page_size=1)
        return ListCall("FindItems", request, 1, fits=lambda item: item.item_id == wanted, available=1)

    def _embedded(self, size: int) -> Embedding:
        asked = self._recommend(size, asks_next=bool(self._rng.integers(2))).request
        return Embedding(pb.EmbedUserRequest(user=asked.user, intent=asked.intent))

    def _batch(self, size: int) -> Batch:
        kinds = (
            *(Traffic._recommend, Traffic._earlier, Traffic._next),
            *(Traffic._recommend_filtered, Traffic._styled, Traffic._told),
        )
        drawn = self._rng.integers(len(kinds), size=self._rng.integers(1, LARGEST_BATCH + 1))
        return Batch(tuple(kinds[kind](self, size) for kind in drawn))

    def _made_up(self, ids: Sequence[str]) -> Histories:
        """Users with a dozen items each, the popular ones more often."""
        weights = 1 / np.arange(1, len(ids) + 1)
        weights /= weights.sum()
        count = min(12, len(ids))
        rows = [self._rng.choice(len(ids), count, replace=False, p=weights) for _ in range(500)]
        return [[(ids[row], None) for row in each] for each in rows]


def _learn(client: Client, page: pb.RecommendResponse) -> Learnt:
    """What a server tells of itself, which gave this first page of its whole catalogue."""
    scale = client.find_items(pb.FindItemsRequest(title="a", page_size=1)).rating_scale
    generation, ids = page.metadata.generation_id, {item.item_id for item in page.results}
    for _ in range(1, CATALOGUE_PAGES):
        if page.metadata.exhausted:
            break
        token = page.next_page_token
        page = client.recommend(pb.RecommendRequest(page_size=_PAGE, page_token=token))
        ids.update(item.item_id for item in page.results)
    return Learnt(scale.low, scale.top, generation, frozenset(ids if page.metadata.exhausted else ()))


def _quoted(text: str) -> str:
    """`text` as a filter takes it literally."""
    return '"' + "".join(f"\\{letter}" if letter in '\\"*' else letter for letter in text) + '"'


_KINDS: Mapping[Callable[[Traffic, int], CheckedCall], float] = {
    Traffic._recommend: 0.25,
    Traffic._told: 0.03,
    Traffic._walked: 0.05,
    Traffic._styled: 0.05,
    Traffic._explained: 0.02,
    Traffic._recommend_filtered: 0.05,
    Traffic._similar_filtered: 0.05,
    Traffic._among: 0.05,
    Traffic._batch: 0.05,
    Traffic._earlier: 0.05,
    Traffic._next: 0.05,
    Traffic._taste: 0.1,
    Traffic._similar: 0.12,
    Traffic._seeds: 0.05,
    Traffic._found: 0.01,
    Traffic._embedded: 0.02,
}
"""How often each kind of question is asked."""
