"""Reads requests: checks every field against the contract and turns ids into rows.

The bounds are the ones that recommender.proto states.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set as AbstractSet
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import numpy as np
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from deepmoviematch.data.cells import MAX_ID_BYTES
from deepmoviematch.data.context import HOURS, NO_MOMENT, Moment, device_name
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.server.errors import FilterError, UnknownItemError, listed, shown
from deepmoviematch.server.ranking.question import Listing, Seeds, Style, Taste
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.rpc.checks import UTF8_BYTES, Checks, Start, number
from deepmoviematch.server.rpc.malformed import Malformed
from deepmoviematch.server.rpc.tokens import digest_of
from deepmoviematch.v1 import recommender_pb2 as pb

MAX_TITLE_BYTES = 1000
MAX_GENRES = 1000
MAX_HISTORY = 10_000
MAX_SEEDS = 1000
MAX_EXPERIMENT_BYTES = 64
MAX_LISTED = 10_000
"""Excluded ids of a request; candidates too."""

CHEAP_BYTES = 4096
"""A request that is larger is not cheap."""

CHEAP_PAGE_SIZE = 100
_CHEAP_FIELDS: dict[type, set[str]] = {
    pb.RecommendRequest: {
        *("user", "page_size", "intent", "exclude_item_ids", "include_history", "as_of", "filter"),
        "experiment",
    },
    pb.SimilarItemsRequest: {"item_id", "page_size", "exclude_item_ids", "filter"},
}
"""Those that say nothing that takes long to answer, once a filter is compiled."""

_Time: TypeAlias = tuple[int, int]
"""Seconds since 1970 and nanoseconds."""

_INTENTS = frozenset(pb.Intent.values())
_WEEKDAYS = frozenset(pb.Weekday.values())
_UNTOLD: tuple[Moment, Sequence[str]] = (NO_MOMENT, ())


class RecommendQuery(NamedTuple):
    """A RecommendRequest that keeps the contract."""

    taste: Taste
    listing: Listing
    missing: Sequence[str]
    """Ids that the generation does not know, each once, in the order of the request."""

    notes: Sequence[str] = ()
    """What of the request the generation does not heed or have, in sentences for people."""


class SimilarQuery(NamedTuple):
    """A SimilarItemsRequest that keeps the contract."""

    seeds: Seeds
    listing: Listing
    missing: Sequence[str]

    notes: Sequence[str] = ()
    """As of a `RecommendQuery`."""


def is_cheap(request: Message | Malformed, recommender: Recommender) -> bool:
    """Whether a request that is not large is soon answered: no new or slow filter, style or later page."""
    names = _CHEAP_FIELDS.get(type(request))
    if names is None or isinstance(request, Malformed):
        return False
    for field, value in request.ListFields():
        name = field.name
        if (
            name not in names
            or (name == "page_size" and value > CHEAP_PAGE_SIZE)
            or (name == "filter" and not recommender.is_cheap_with(value))
        ):
            return False
    return True


def read_recommend(
    request: pb.RecommendRequest, recommender: Recommender, start: Start = None
) -> RecommendQuery:
    """The query that `request` is.

    Raises:
        InvalidRequestError: If a field breaks the contract.
    """
    checks = Checks()
    missing: list[str] = []
    user = request.user
    page = checks.page(request.page_size, start)
    preferences = _preferences(user.genre_preferences, recommender, checks)
    checks.text("user.user_id", user.user_id, lowest=0)
    _check_experiment(request, checks)
    as_of = _time("as_of", request.as_of, checks) if request.HasField("as_of") else None
    history = _history(user.history, recommender, checks, missing, as_of)
    excluded = _rows("exclude_item_ids", request.exclude_item_ids, recommender, checks, missing)
    allowed = _allowed(request, recommender, checks, missing)
    style = _style(request, checks)
    intent = request.intent
    if intent not in _INTENTS:
        checks.refuse("intent", f"must be one of {', '.join(pb.Intent.keys())}, got {intent}")
    moment, notes = _moment(user, recommender, checks) if user.HasField("context") else _UNTOLD
    checks.finish()
    if not request.include_history:
        excluded |= history.keys()
    return RecommendQuery(
        Taste(preferences, history, intent == pb.INTENT_NEXT, moment),
        Listing(*page, excluded, allowed, style, request.validate_only),
        [*dict.fromkeys(missing)],
        [*notes, *_filter_notes(request, recommender)],
    )


def _check_experiment(request: pb.RecommendRequest, checks: Checks) -> None:
    checks.text("experiment", request.experiment, lowest=0, highest=MAX_EXPERIMENT_BYTES)
    if request.experiment and not request.user.user_id:
        checks.refuse("user.user_id", "must be given with an experiment, whose variant it decides, got none")


def read_similar(
    request: pb.SimilarItemsRequest, recommender: Recommender, start: Start = None
) -> SimilarQuery:
    """The query that `request` is.

    Raises:
        InvalidRequestError: If a field breaks the contract.
        UnknownItemError: If an item asked about is not in the catalogue.
    """
    checks = Checks()
    missing: list[str] = []
    page = checks.page(request.page_size, start)
    item_id = request.item_id
    if not (item_id or request.positive_item_ids):
        checks.refuse("item_id", "must be given where positive_item_ids are not, got neither; name an item")
    checks.text("item_id", item_id, lowest=0)
    positive, negative = ([item_id] if item_id else []), list[str]()
    if request.positive_item_ids or request.negative_item_ids:
        positive += _ids("positive_item_ids", request.positive_item_ids, MAX_SEEDS, checks)
        negative += _ids("negative_item_ids", request.negative_item_ids, MAX_SEEDS, checks)
        near = {*positive}
        for place, each in enumerate(negative):
            if each in near:
                rule = f"must not be positive as well, got {shown(each)}; keep one of the two"
                checks.refuse(f"negative_item_ids[{place}]", rule)
    excluded = _rows("exclude_item_ids", request.exclude_item_ids, recommender, checks, missing)
    allowed = _allowed(request, recommender, checks, missing)
    style = _style(request, checks)
    checks.finish()
    seeds = Seeds(_known(positive, recommender), _known(negative, recommender))
    listing = Listing(*page, excluded, allowed, style, request.validate_only)
    return SimilarQuery(seeds, listing, [*dict.fromkeys(missing)], _filter_notes(request, recommender))


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
    checks = Checks()
    page = checks.page(request.page_size, start)
    checks.text("title", request.title, highest=MAX_TITLE_BYTES)
    checks.finish()
    return request.title, Listing(*page)


def _preferences(stated: Mapping[str, float], recommender: Recommender, checks: Checks) -> dict[int, float]:
    """Genre column -> stars."""
    preferences: dict[int, float] = {}
    if not stated:
        return preferences
    spelt: dict[int, str] = {}
    if not checks.count("user.genre_preferences", len(stated), MAX_GENRES):
        return preferences
    names = recommender.generation.catalogue.genre_names
    vocabulary = f"; the genres are {listed(names)}" if names else "; it has none"
    for name, stars in sorted(stated.items()):  # a map has no order of its own
        field = f"user.genre_preferences[{shown(name)}]"
        checks.stars(field, stars)
        columns = recommender.genre_columns(name)
        if not columns:
            checks.refuse(field, f"must be a genre of the catalogue, got {shown(name)}{vocabulary}")
            vocabulary = ""  # once is enough
        elif len(columns) > 1:
            spellings = " or ".join(shown(names[column]) for column in columns)
            checks.refuse(field, f"must be spelt as the catalogue does, got {shown(name)}; say {spellings}")
        elif columns[0] in spelt:
            both = f"{shown(spelt[columns[0]])} and {shown(name)}"
            checks.refuse(field, f"must be given once, got {both}; keep one of the two")
        else:
            preferences[columns[0]], spelt[columns[0]] = stars, name
    return preferences


def _history(
    interactions: Collection[pb.Interaction],
    recommender: Recommender,
    checks: Checks,
    missing: list[str],
    as_of: _Time | None = None,
) -> dict[int, float]:
    """Row -> stars, the oldest first; the last mention of an item counts. Unknown ids go to `missing`.

    What happened after `as_of` is checked, and left out.
    """
    if not checks.count("user.history", len(interactions), MAX_HISTORY):
        return {}
    row_of, lowest, highest = recommender.generation.catalogue.row_of, recommender.lowest, recommender.highest
    mentions: list[tuple[int | None, float]] = []
    times: list[_Time] = []
    for place, each in enumerate(interactions):
        item_id, rating = each.item_id, each.rating if each.HasField("rating") else highest
        row, later = row_of.get(item_id), False
        if each.HasField("time"):
            time = _time(f"user.history[{place}].time", each.time, checks)
            times.append(time)
            later = as_of is not None and time > as_of
        if row is None and not later:
            missing.append(item_id)
        if row is None or len(item_id) > MAX_ID_BYTES // UTF8_BYTES:
            checks.text(f"user.history[{place}].item_id", item_id)
        if not lowest <= rating <= highest:  # NaN is not either
            checks.refuse(
                f"user.history[{place}].rating",
                f"must be {lowest:g} to {highest:g}, the scale of the ratings, which begins at a tenth of "
                f"its top unless the data go lower, got {number(rating)}",
            )
        mentions.append((None if later else row, rating))
    if times and len(times) == len(mentions):
        mentions = [mention for _, mention in sorted(zip(times, mentions, strict=True), key=itemgetter(0))]
    history: dict[int, float] = {}
    for row, rating in mentions:
        if row is not None:
            history.pop(row, None)  # a later mention comes later
            history[row] = rating
    return recommender.in_stars(history)


def _moment(user: pb.UserFeatures, recommender: Recommender, checks: Checks) -> tuple[Moment, Sequence[str]]:
    """What the generation reads of the user's context, and notes on what it does not."""
    context = user.context
    hour = context.hour if context.HasField("hour") else None
    if hour is not None and not 0 <= hour < HOURS:
        checks.refuse("user.context.hour", f"must be 0 to {HOURS - 1}, got {hour}")
    if context.weekday not in _WEEKDAYS:
        names = ", ".join(pb.Weekday.keys())
        checks.refuse("user.context.weekday", f"must be one of {names}, got {context.weekday}")
    checks.text("user.context.device", context.device, lowest=0)
    moments, device = recommender.generation.user_tower.moments, device_name(context.device)
    weekday = context.weekday - pb.WEEKDAY_MONDAY if context.weekday else None
    moment = moments.moment(hour=hour, weekday=weekday, device=device)
    notes = []
    for name, told in (("hour", hour is not None), ("weekday", weekday is not None), ("device", device)):
        if told and name not in moment:
            known = f"; it knows {listed(moments.devices)}" if name in moments.features else ""
            value = f" {shown(device)}" if known else ""
            notes.append(f"the {name}{value} counts for nothing with this generation{known}")
    return moment, notes


def _time(field: str, time: Timestamp, checks: Checks) -> _Time:
    """The time, which must be what the definition of its type allows."""
    seconds, nanos = time.seconds, time.nanos
    if not (-62_135_596_800 <= seconds < 253_402_300_800 and 0 <= nanos < 1_000_000_000):
        checks.refuse(field, f"must be a time of the years 1 to 9999, got {seconds} s and {nanos} ns")
    return seconds, nanos


def _ids(field: str, ids: Collection[str], most: int, checks: Checks) -> Collection[str]:
    """The ids, none of them too long; none at all if they are too many."""
    if not checks.count(field, len(ids), most):
        return ()
    for place, item_id in enumerate(ids):
        checks.text(f"{field}[{place}]", item_id)
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
    field: str, ids: Collection[str], recommender: Recommender, checks: Checks, missing: list[str]
) -> AbstractSet[int]:
    """The rows of the items; unknown ids go to `missing`."""
    if not ids:
        return frozenset()
    row_of, rows = recommender.generation.catalogue.row_of, set()
    for item_id in _ids(field, ids, MAX_LISTED, checks):
        row = row_of.get(item_id)
        if row is None:
            missing.append(item_id)
        else:
            rows.add(row)
    return rows


def _allowed(
    request: pb.RecommendRequest | pb.SimilarItemsRequest,
    recommender: Recommender,
    checks: Checks,
    missing: list[str],
) -> Selection | None:
    """What the request lets be returned; None where it does not say. Unknown ids go to `missing`."""
    allowed = None
    if request.candidate_item_ids:
        rows = _rows("candidate_item_ids", request.candidate_item_ids, recommender, checks, missing)
        flags = np.zeros(len(recommender.generation.catalogue), dtype=np.bool_)
        flags[list(rows)] = True
        allowed = Selection(flags)
    if request.filter.strip():
        try:
            satisfying = recommender.filters.allowed(request.filter)
        except FilterError as error:
            checks.refuse("filter", str(error))
        else:
            allowed = satisfying if allowed is None else allowed & satisfying
    return allowed


def _filter_notes(
    request: pb.RecommendRequest | pb.SimilarItemsRequest, recommender: Recommender
) -> Sequence[str]:
    """What to note of the request's filter, which is not at fault; nothing where nobody asks for a plan."""
    if not (request.validate_only and request.filter.strip()):
        return ()
    return recommender.filters.notes(request.filter)


def _style(request: pb.RecommendRequest | pb.SimilarItemsRequest, checks: Checks) -> Style | None:
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
    checks.share("diversity.strength", strength)
    checks.share("novelty", novelty)
    checks.share("exploration.share", share)
    if most < 0:
        checks.refuse("diversity.max_per_genre", f"must be 0 or more, got {most}; 0 is no limit")
    return Style(novelty, strength, most, share, digest_of(request) if share else b"")
