"""Reads requests: checks every field against the contract and turns ids into rows.

Each function collects all violations before it gives up, so that a caller learns
of every one at once. The bounds are the ones that recommender.proto states.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set as AbstractSet
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from deepmoviematch.data.features import LOWEST_STARS
from deepmoviematch.data.tables import TOP_STARS, Flags
from deepmoviematch.v1 import recommender_pb2 as pb

from .errors import FilterError, InvalidRequestError, UnknownItemError, Violation, listed, shown
from .explanation import MAX_EXPLAINED
from .order import Style
from .recommender import Listing, Recommender, Seeds, Taste
from .syntax import count_conditions
from .tokens import Mark, digest_of

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 1000
MAX_ID_BYTES = 256
MAX_TITLE_BYTES = 1000
MAX_GENRES = 1000
MAX_HISTORY = 10_000
MAX_SEEDS = 1000
MAX_LISTED = 10_000
"""Excluded ids of a request; candidates too."""

MAX_BATCH = 256
MAX_BATCH_RESULTS = 20_000
MAX_BATCH_EXPLAINED = 1000
MAX_BATCH_ITEMS = 100_000
"""Interactions, excluded ids and candidates of a whole batch."""

MAX_BATCH_FILTER_BYTES = 40_000
MAX_BATCH_CONDITIONS = 500
"""Of the filters of a whole batch; one that is repeated counts once."""

_Time: TypeAlias = tuple[int, int]
"""Seconds since 1970 and nanoseconds."""

_UTF8_BYTES = 4
"""A character takes no more."""

_INTENTS = frozenset(pb.Intent.values())


class RecommendQuery(NamedTuple):
    """A RecommendRequest that keeps the contract."""

    taste: Taste
    listing: Listing
    missing: Sequence[str]
    """Ids that the generation does not know, each once, in the order of the request."""


class SimilarQuery(NamedTuple):
    """A SimilarItemsRequest that keeps the contract."""

    seeds: Seeds
    listing: Listing
    missing: Sequence[str]


Start: TypeAlias = Mark | Violation | None
"""Where a request says that it goes on, or why its token is no good; None begins."""


def read_recommend(
    request: pb.RecommendRequest, recommender: Recommender, start: Start = None
) -> RecommendQuery:
    """The query that `request` is.

    Raises:
        InvalidRequestError: If a field breaks the contract.
    """
    fields = _Fields()
    missing: list[str] = []
    user = request.user
    page = fields.page(request.page_size, start)
    preferences = _preferences(user.genre_preferences, recommender, fields)
    fields.text("user.user_id", user.user_id, lowest=0)
    as_of = _time("as_of", request.as_of, fields) if request.HasField("as_of") else None
    history = _history(user.history, recommender, fields, missing, as_of)
    excluded = _rows("exclude_item_ids", request.exclude_item_ids, recommender, fields, missing)
    allowed = _allowed(request, recommender, fields, missing)
    style = _style(request, fields)
    intent = request.intent
    if intent not in _INTENTS:
        fields.refuse("intent", f"must be one of {', '.join(pb.Intent.keys())}, got {intent}")
    fields.check()
    if not request.include_history:
        excluded |= history.keys()
    return RecommendQuery(
        Taste(preferences, history, intent == pb.INTENT_NEXT),
        Listing(*page, excluded, allowed, style, request.validate_only),
        [*dict.fromkeys(missing)],
    )


def read_similar(
    request: pb.SimilarItemsRequest, recommender: Recommender, start: Start = None
) -> SimilarQuery:
    """The query that `request` is.

    Raises:
        InvalidRequestError: If a field breaks the contract.
        UnknownItemError: If an item asked about is not in the catalogue.
    """
    fields = _Fields()
    missing: list[str] = []
    page = fields.page(request.page_size, start)
    item_id = request.item_id
    if not (item_id or request.positive_item_ids):
        fields.refuse("item_id", "must be given where positive_item_ids are not, got neither; name an item")
    fields.text("item_id", item_id, lowest=0)
    positive, negative = ([item_id] if item_id else []), list[str]()
    if request.positive_item_ids or request.negative_item_ids:
        positive += _ids("positive_item_ids", request.positive_item_ids, MAX_SEEDS, fields)
        negative += _ids("negative_item_ids", request.negative_item_ids, MAX_SEEDS, fields)
        near = {*positive}
        for place, each in enumerate(negative):
            if each in near:
                rule = f"must not be positive as well, got {shown(each)}; keep one of the two"
                fields.refuse(f"negative_item_ids[{place}]", rule)
    excluded = _rows("exclude_item_ids", request.exclude_item_ids, recommender, fields, missing)
    allowed = _allowed(request, recommender, fields, missing)
    style = _style(request, fields)
    fields.check()
    seeds = Seeds(_known(positive, recommender), _known(negative, recommender))
    listing = Listing(*page, excluded, allowed, style, request.validate_only)
    return SimilarQuery(seeds, listing, [*dict.fromkeys(missing)])


def read_embed(request: pb.EmbedUserRequest, recommender: Recommender) -> RecommendQuery:
    """The user that `request` asks about; the listing means nothing here.

    Raises:
        InvalidRequestError: If a field breaks the contract.
    """
    return read_recommend(
        pb.RecommendRequest(user=request.user, intent=request.intent, page_size=1), recommender
    )


def read_find(request: pb.FindItemsRequest, start: Start = None) -> tuple[str, Listing]:
    """The text to look up and which of the matches to return.

    Raises:
        InvalidRequestError: If a field breaks the contract.
    """
    fields = _Fields()
    page = fields.page(request.page_size, start)
    fields.text("title", request.title, highest=MAX_TITLE_BYTES)
    fields.check()
    return request.title, Listing(*page)


def check_batch(request: pb.BatchRecommendRequest) -> None:
    """Hold a batch as a whole to its bounds; its requests are read one by one.

    Raises:
        InvalidRequestError: If the batch is empty or too large.
    """
    fields = _Fields()
    if not 1 <= len(request.requests) <= MAX_BATCH:
        fields.refuse("requests", f"must have 1 to {MAX_BATCH} entries, got {len(request.requests)}")
    # A negative size is refused by its own request, and makes no room here for others.
    sizes = [min(max(each.page_size or DEFAULT_PAGE_SIZE, 0), MAX_PAGE_SIZE) for each in request.requests]
    results = sum(sizes)
    if results > MAX_BATCH_RESULTS:
        fields.refuse(
            "requests",
            f"must ask for at most {MAX_BATCH_RESULTS} results in all, got {results}; send several batches",
        )
    explained = sum(
        min(size, MAX_EXPLAINED) for size, each in zip(sizes, request.requests, strict=True) if each.explain
    )
    if explained > MAX_BATCH_EXPLAINED:
        fields.refuse(
            "requests",
            f"must ask for at most {MAX_BATCH_EXPLAINED} explained results in all, got {explained}; "
            "send several batches",
        )
    items = sum(
        len(each.user.history) + len(each.exclude_item_ids) + len(each.candidate_item_ids)
        for each in request.requests
    )
    if items > MAX_BATCH_ITEMS:
        fields.refuse(
            "requests",
            f"must have at most {MAX_BATCH_ITEMS} interactions, excluded ids and candidates in all, "
            f"got {items}; send several batches",
        )
    filters = {each.filter for each in request.requests}
    size = sum(len(each.encode()) for each in filters)
    if size > MAX_BATCH_FILTER_BYTES:  # so many would take too long even to count
        fields.refuse(
            "requests",
            f"must have at most {MAX_BATCH_FILTER_BYTES} bytes in their different filters, got {size}; "
            "send several batches",
        )
    elif (conditions := sum(map(count_conditions, filters))) > MAX_BATCH_CONDITIONS:
        fields.refuse(
            "requests",
            f"must have at most {MAX_BATCH_CONDITIONS} conditions and stars in their different filters, "
            f"got {conditions}; send several batches",
        )
    fields.check()


class _Fields:
    """Checks fields and remembers every violation."""

    __slots__ = ("_violations",)

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def refuse(self, field: str, rule: str) -> None:
        self._violations.append(Violation(field, rule))

    def check(self) -> None:
        if self._violations:
            raise InvalidRequestError(self._violations)

    def page(self, size: int, start: Start) -> tuple[int, int, int]:
        """`limit`, `start` and `ahead` of a `Listing`."""
        if size < 0:
            self.refuse("page_size", f"must be 0 or more, got {size}; 0 means {DEFAULT_PAGE_SIZE}")
        limit = min(size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        if isinstance(start, Mark):
            return limit, start.start, start.ahead
        if start is not None:
            self._violations.append(start)
        return limit, 0, 0

    def text(self, field: str, text: str, *, lowest: int = 1, highest: int = MAX_ID_BYTES) -> None:
        if lowest <= len(text) <= highest // _UTF8_BYTES:
            return  # by far the most
        size = len(text.encode())
        if size < lowest:
            self.refuse(field, f"must be {lowest} to {highest} bytes, got none")
        elif size > highest:
            self.refuse(field, f"must be {lowest} to {highest} bytes, got {size}: {shown(text)}")

    def count(self, field: str, size: int, most: int) -> bool:
        if size > most:
            self.refuse(field, f"must have at most {most} entries, got {size}")
        return size <= most

    def share(self, field: str, share: float) -> None:
        if not 0 <= share <= 1:  # NaN is not either
            self.refuse(field, f"must be 0 to 1, got {_number(share)}")

    def stars(self, field: str, stars: float) -> None:
        if not LOWEST_STARS <= stars <= TOP_STARS:  # NaN is not either
            self.refuse(field, f"must be {LOWEST_STARS:g} to {TOP_STARS:g} stars, got {_number(stars)}")


def _number(value: float) -> str:
    """`value` in the fewest digits that tell it from all others on the wire: 1.0000001 is not 1."""
    return str(np.float32(value)).removesuffix(".0")


def _preferences(stated: Mapping[str, float], recommender: Recommender, fields: _Fields) -> dict[int, float]:
    """Genre column -> stars."""
    preferences: dict[int, float] = {}
    if not stated:
        return preferences
    spelt: dict[int, str] = {}
    if not fields.count("user.genre_preferences", len(stated), MAX_GENRES):
        return preferences
    names = recommender.generation.catalogue.genre_names
    vocabulary = f"; the genres are {listed(names)}" if names else "; it has none"
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


def _history(
    interactions: Collection[pb.Interaction],
    recommender: Recommender,
    fields: _Fields,
    missing: list[str],
    as_of: _Time | None = None,
) -> dict[int, float]:
    """Row -> stars, the oldest first; the last mention of an item counts. Unknown ids go to `missing`.

    What happened after `as_of` is checked, and left out.
    """
    if not fields.count("user.history", len(interactions), MAX_HISTORY):
        return {}
    row_of, lowest, highest = recommender.generation.catalogue.row_of, recommender.lowest, recommender.highest
    rows: list[int | None] = []
    ratings: list[float] = []
    times: list[_Time] = []
    for place, each in enumerate(interactions):
        item_id, rating = each.item_id, each.rating if each.HasField("rating") else highest
        row, later = row_of.get(item_id), False
        if each.HasField("time"):
            time = _time(f"user.history[{place}].time", each.time, fields)
            times.append(time)
            later = as_of is not None and time > as_of
        if row is None and not later:
            missing.append(item_id)
        if row is None or len(item_id) > MAX_ID_BYTES // _UTF8_BYTES:
            fields.text(f"user.history[{place}].item_id", item_id)
        rows.append(None if later else row)
        ratings.append(rating)
        if not lowest <= rating <= highest:  # NaN is not either
            fields.refuse(
                f"user.history[{place}].rating",
                f"must be {lowest:g} to {highest:g}, the scale of the ratings, got {_number(rating)}",
            )
    mentions = list(zip(rows, recommender.stars(ratings), strict=True))
    if times and len(times) == len(rows):
        mentions = [mention for _, mention in sorted(zip(times, mentions, strict=True), key=itemgetter(0))]
    history: dict[int, float] = {}
    for row, stars in mentions:
        if row is not None:
            history.pop(row, None)  # a later mention comes later
            history[row] = stars
    return history


def _time(field: str, time: Timestamp, fields: _Fields) -> _Time:
    """The time, which must be what the definition of its type allows."""
    seconds, nanos = time.seconds, time.nanos
    if not (-62_135_596_800 <= seconds < 253_402_300_800 and 0 <= nanos < 1_000_000_000):
        fields.refuse(field, f"must be a time of the years 1 to 9999, got {seconds} s and {nanos} ns")
    return seconds, nanos


def _ids(field: str, ids: Collection[str], most: int, fields: _Fields) -> Collection[str]:
    """The ids, none of them too long; none at all if they are too many."""
    if not fields.count(field, len(ids), most):
        return ()
    for place, item_id in enumerate(ids):
        fields.text(f"{field}[{place}]", item_id)
    return ids


def _known(ids: Iterable[str], recommender: Recommender) -> list[int]:
    """The rows of the items, each once and in one order, whatever the order of the ids.

    Raises:
        UnknownItemError: If one is not in the catalogue.
    """
    row_of = recommender.generation.catalogue.row_of
    try:
        return sorted({row_of[item_id] for item_id in ids})
    except KeyError as error:
        raise UnknownItemError(error.args[0]) from None


def _rows(
    field: str, ids: Collection[str], recommender: Recommender, fields: _Fields, missing: list[str]
) -> AbstractSet[int]:
    """The rows of the items; unknown ids go to `missing`."""
    if not ids:
        return frozenset()
    row_of, rows = recommender.generation.catalogue.row_of, set()
    for item_id in _ids(field, ids, MAX_LISTED, fields):
        row = row_of.get(item_id)
        if row is None:
            missing.append(item_id)
        else:
            rows.add(row)
    return rows


def _allowed(
    request: pb.RecommendRequest | pb.SimilarItemsRequest,
    recommender: Recommender,
    fields: _Fields,
    missing: list[str],
) -> Flags | None:
    """[N] what the request lets be returned; None where it does not say. Unknown ids go to `missing`."""
    allowed = None
    if request.candidate_item_ids:
        rows = _rows("candidate_item_ids", request.candidate_item_ids, recommender, fields, missing)
        allowed = np.zeros(len(recommender.generation.catalogue), dtype=np.bool_)
        allowed[list(rows)] = True
    if request.filter.strip():
        try:
            satisfying = recommender.filters.allowed(request.filter)
        except FilterError as error:
            fields.refuse("filter", str(error))
        else:
            allowed = satisfying if allowed is None else allowed & satisfying
    return allowed


def _style(request: pb.RecommendRequest | pb.SimilarItemsRequest, fields: _Fields) -> Style | None:
    """What the list is to be besides relevant; None where nothing is asked for."""
    share = 0.0
    if isinstance(request, pb.RecommendRequest) and request.HasField("exploration"):
        share = request.exploration.share
    if not (request.novelty or share or request.HasField("diversity")):
        return None  # by far the most
    diversity = request.diversity
    strength, most, novelty = diversity.strength, diversity.max_per_genre, request.novelty
    if not (strength or most or novelty or share):
        return None
    fields.share("diversity.strength", strength)
    fields.share("novelty", novelty)
    fields.share("exploration.share", share)
    if most < 0:
        fields.refuse("diversity.max_per_genre", f"must be 0 or more, got {most}; 0 is no limit")
    return Style(novelty, strength, most, share, digest_of(request) if share else b"")
