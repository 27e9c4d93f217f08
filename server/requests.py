"""Reads requests: checks every field against the contract and turns ids into rows.

Each function collects all violations before it gives up, so that a caller learns
of every one at once. The bounds are the ones that recommender.proto states.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from deepmoviematch.data.features import LOWEST_STARS
from deepmoviematch.data.tables import TOP_STARS, Catalogue
from deepmoviematch.v1 import recommender_pb2 as pb

from .errors import InvalidRequestError, UnknownItemError, Violation
from .recommender import Recommender, Taste

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 1000
MAX_ID_BYTES = 256
MAX_TITLE_BYTES = 1000
MAX_GENRES = 1000
MAX_HISTORY = 10_000
MAX_EXCLUDED = 10_000
MAX_BATCH = 256
MAX_BATCH_RESULTS = 20_000
MAX_BATCH_ITEMS = 100_000
"""Interactions and excluded ids of a whole batch."""

_SHOWN = 60
"""Characters of a received text that a message repeats."""

_LISTED = 400
"""Characters of the genre vocabulary that a message lists."""


@dataclass(frozen=True)
class RecommendQuery:
    """A RecommendRequest that keeps the contract."""

    taste: Taste
    missing: tuple[str, ...]
    """Ids that the generation does not know, each once, in the order of the request."""


@dataclass(frozen=True)
class SimilarQuery:
    """A SimilarItemsRequest that keeps the contract."""

    row: int
    limit: int
    excluded: frozenset[int]
    missing: tuple[str, ...]


def read_recommend(request: pb.RecommendRequest, recommender: Recommender) -> RecommendQuery:
    """The query that `request` is.

    Raises:
        InvalidRequestError: If a field breaks the contract.
    """
    fields = _Fields()
    catalogue = recommender.generation.catalogue
    limit = fields.page_size(request.page_size)
    preferences = _preferences(request.user.genre_preferences, recommender, fields)
    fields.text("user.user_id", request.user.user_id, lowest=0)
    mentions = _history(request.user.history, recommender, fields)
    excluded = fields.item_ids("exclude_item_ids", request.exclude_item_ids, MAX_EXCLUDED)
    if request.intent not in pb.Intent.values():
        fields.refuse("intent", f"must be one of {', '.join(pb.Intent.keys())}, got {request.intent}")
    fields.check()
    history = {catalogue.row_of[item]: stars for item, stars in mentions.items() if item in catalogue.row_of}
    out = _rows(excluded, catalogue)
    return RecommendQuery(
        taste=Taste(
            limit,
            preferences,
            history,
            out if request.include_history else out | history.keys(),
            asks_next=request.intent == pb.INTENT_NEXT,
        ),
        missing=_missing([*(each.item_id for each in request.user.history), *excluded], catalogue),
    )


def read_similar(request: pb.SimilarItemsRequest, recommender: Recommender) -> SimilarQuery:
    """The query that `request` is.

    Raises:
        InvalidRequestError: If a field breaks the contract.
        UnknownItemError: If the item asked about is not in the catalogue.
    """
    fields = _Fields()
    catalogue = recommender.generation.catalogue
    limit = fields.page_size(request.page_size)
    fields.text("item_id", request.item_id)
    excluded = fields.item_ids("exclude_item_ids", request.exclude_item_ids, MAX_EXCLUDED)
    fields.check()
    if request.item_id not in catalogue.row_of:
        raise UnknownItemError(request.item_id)
    return SimilarQuery(
        row=catalogue.row_of[request.item_id],
        limit=limit,
        excluded=_rows(excluded, catalogue),
        missing=_missing(excluded, catalogue),
    )


def read_find(request: pb.FindItemsRequest) -> tuple[str, int]:
    """The text to look up and how many items to return.

    Raises:
        InvalidRequestError: If a field breaks the contract.
    """
    fields = _Fields()
    limit = fields.page_size(request.page_size)
    fields.text("title", request.title, highest=MAX_TITLE_BYTES)
    fields.check()
    return request.title, limit


def check_batch(request: pb.BatchRecommendRequest) -> None:
    """Hold a batch as a whole to its bounds; its requests are read one by one.

    Raises:
        InvalidRequestError: If the batch is empty or too large.
    """
    fields = _Fields()
    if not 1 <= len(request.requests) <= MAX_BATCH:
        fields.refuse("requests", f"must have 1 to {MAX_BATCH} entries, got {len(request.requests)}")
    sizes = (each.page_size or DEFAULT_PAGE_SIZE for each in request.requests)
    results = sum(min(max(size, 0), MAX_PAGE_SIZE) for size in sizes)
    if results > MAX_BATCH_RESULTS:
        fields.refuse(
            "requests",
            f"must ask for at most {MAX_BATCH_RESULTS} results in all, got {results}; send several batches",
        )
    items = sum(len(each.user.history) + len(each.exclude_item_ids) for each in request.requests)
    if items > MAX_BATCH_ITEMS:
        fields.refuse(
            "requests",
            f"must have at most {MAX_BATCH_ITEMS} interactions and excluded ids in all, got {items}; "
            "send several batches",
        )
    fields.check()


class _Fields:
    """Checks fields and remembers every violation."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def refuse(self, field: str, rule: str) -> None:
        self._violations.append(Violation(field, rule))

    def check(self) -> None:
        if self._violations:
            raise InvalidRequestError(self._violations)

    def page_size(self, size: int) -> int:
        if size < 0:
            self.refuse("page_size", f"must be 0 or more, got {size}; 0 means {DEFAULT_PAGE_SIZE}")
        return min(size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)

    def text(self, field: str, text: str, *, lowest: int = 1, highest: int = MAX_ID_BYTES) -> None:
        size = len(text.encode())
        if size < lowest:
            self.refuse(field, f"must be {lowest} to {highest} bytes, got none")
        elif size > highest:
            self.refuse(field, f"must be {lowest} to {highest} bytes, got {size}: {shown(text)}")

    def item_ids(self, field: str, ids: Iterable[str], most: int) -> list[str]:
        listed = list(ids)
        if self.count(field, len(listed), most):
            for place, item_id in enumerate(listed):
                self.text(f"{field}[{place}]", item_id)
        return listed

    def count(self, field: str, size: int, most: int) -> bool:
        if size > most:
            self.refuse(field, f"must have at most {most} entries, got {size}")
        return size <= most

    def stars(self, field: str, stars: float) -> None:
        if not LOWEST_STARS <= stars <= TOP_STARS:  # NaN is not either
            self.refuse(field, f"must be {LOWEST_STARS:g} to {TOP_STARS:g} stars, got {stars:g}")


def shown(text: str) -> str:
    """`text` quoted for a message, its middle left out if it is long."""
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN // 2]}...{text[-_SHOWN // 2 :]}"
    return json.dumps(text, ensure_ascii=False)


def _preferences(stated: Mapping[str, float], recommender: Recommender, fields: _Fields) -> dict[int, float]:
    """Genre column -> stars."""
    preferences: dict[int, float] = {}
    spelt: dict[int, str] = {}
    if not fields.count("user.genre_preferences", len(stated), MAX_GENRES):
        return preferences
    names = recommender.generation.catalogue.genre_names
    vocabulary = f"; the genres are {_listed(names)}" if names else "; it has none"
    for name, stars in sorted(stated.items()):  # a map has no order of its own
        field = f"user.genre_preferences[{shown(name)}]"
        fields.stars(field, stars)
        columns = recommender.genre_columns(name)
        if not columns:
            fields.refuse(field, f"must be a genre of the catalogue, got {shown(name)}{vocabulary}")
            vocabulary = ""  # once is enough
        elif len(columns) > 1:
            spellings = " or ".join(shown(names[column]) for column in columns)
            fields.refuse(field, f"must be spelt as the catalogue does, got {shown(name)}; say {spellings}")
        elif columns[0] in spelt:
            both = f"{shown(spelt[columns[0]])} and {shown(name)}"
            fields.refuse(field, f"must be given once, got {both}; keep one of the two")
        else:
            preferences[columns[0]], spelt[columns[0]] = stars, name
    return preferences


def _listed(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return listed if len(listed) <= _LISTED else f"{listed[:_LISTED].rpartition(', ')[0]}, ..."


def _history(
    interactions: Iterable[pb.Interaction], recommender: Recommender, fields: _Fields
) -> dict[str, float]:
    """Item id -> stars, the oldest first; the last mention of an item counts."""
    scale = recommender.generation.scale
    # Ratings travel as float32, in which 0.7 is less than the 0.7 of a Python float.
    floor, top = np.float32(scale.floor), np.float32(scale.top)
    given = list(interactions)
    if not fields.count("user.history", len(given), MAX_HISTORY):
        return {}
    ratings = np.full(len(given), top, dtype=np.float32)
    for place, each in enumerate(given):
        fields.text(f"user.history[{place}].item_id", each.item_id)
        if each.HasField("time") and not _is_time(each.time.seconds, each.time.nanos):
            fields.refuse(
                f"user.history[{place}].time",
                f"must be a time of the years 1 to 9999, got {each.time.seconds} s and {each.time.nanos} ns",
            )
        if each.HasField("rating"):
            ratings[place] = each.rating
            if not floor <= ratings[place] <= top:
                fields.refuse(
                    f"user.history[{place}].rating",
                    f"must be {floor:g} to {top:g}, the scale of the ratings, got {each.rating:g}",
                )
    mentions = list(zip(given, scale.stars(ratings), strict=True))
    if all(each.HasField("time") for each in given):
        mentions.sort(key=lambda mention: (mention[0].time.seconds, mention[0].time.nanos))
    history: dict[str, float] = {}
    for each, value in mentions:
        history.pop(each.item_id, None)  # a later mention comes later
        history[each.item_id] = float(value)
    return history


def _is_time(seconds: int, nanos: int) -> bool:
    """Whether a google.protobuf.Timestamp is what its definition allows."""
    return -62_135_596_800 <= seconds < 253_402_300_800 and 0 <= nanos < 1_000_000_000


def _rows(ids: Iterable[str], catalogue: Catalogue) -> frozenset[int]:
    return frozenset(catalogue.row_of[item] for item in ids if item in catalogue.row_of)


def _missing(ids: Iterable[str], catalogue: Catalogue) -> tuple[str, ...]:
    return tuple(item for item in dict.fromkeys(ids) if item not in catalogue.row_of)
