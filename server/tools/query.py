"""The client for people: titles in, tables or JSON out."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

from google.protobuf import json_format

from deepmoviematch.server.errors import QueryError
from deepmoviematch.server.tools import tables
from deepmoviematch.server.tools.lookup import Lookup, Resolved, connected, label, plain
from deepmoviematch.server.tools.reach import Reach
from deepmoviematch.v1 import recommender_pb2 as pb

_Response: TypeAlias = (
    pb.RecommendResponse | pb.SimilarItemsResponse | pb.FindItemsResponse | pb.EmbedUserResponse
)

_Ranked = TypeVar("_Ranked", pb.RecommendResponse, pb.SimilarItemsResponse)


def run(arguments: Namespace) -> None:
    """Ask what the command line says and print the answer.

    Raises:
        QueryError: If there is no answer.
    """
    with connected(Reach.of(arguments)) as client:
        response = _QUESTIONS[arguments.question](client, arguments)
    if arguments.json:
        # With the fields that are false or empty: a program should not have to know the defaults.
        text = json_format.MessageToJson(
            response,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        print(text)
    elif isinstance(response, pb.EmbedUserResponse):
        tables.print_genres(tables.console(), response, arguments.count)
    else:
        out = tables.console()
        missing = () if isinstance(response, pb.FindItemsResponse) else response.missing_item_ids
        tables.print_headline(out, response.metadata, tuple(missing))
        if not isinstance(response, pb.FindItemsResponse) and response.HasField("plan"):
            tables.print_plan(out, response.plan)
        else:
            tables.print_results(out, response.results)
            tables.print_explanations(out, response.results)


def _recommend(client: Lookup, arguments: Namespace) -> pb.RecommendResponse:
    user = _user(client, arguments)
    user.user_id = arguments.user_id
    return _told_why_empty(
        client.recommend,
        pb.RecommendRequest(
            user=user,
            page_size=arguments.count,
            filter=arguments.filter,
            exclude_item_ids=_ids(client, arguments.exclude),
            candidate_item_ids=_ids(client, arguments.only),
            include_history=arguments.include_history,
            intent=_intent(arguments),
            diversity=_diversity(arguments),
            novelty=arguments.novelty,
            exploration=pb.Exploration(share=arguments.explore, seed=arguments.seed),
            validate_only=arguments.validate,
            explain=arguments.explain,
            experiment=arguments.experiment,
        ),
        pages=arguments.pages,
    )


def _taste(client: Lookup, arguments: Namespace) -> pb.EmbedUserResponse:
    return client.embed(pb.EmbedUserRequest(user=_user(client, arguments), intent=_intent(arguments)))


def _user(client: Lookup, arguments: Namespace) -> pb.UserFeatures:
    found = _resolved(client, [told.item for told in arguments.told])
    return pb.UserFeatures(
        genre_preferences=_preferences(arguments.genre),
        history=[*map(_interaction, arguments.told, found)],
        context=_context(arguments),
    )


def _context(arguments: Namespace) -> pb.Context | None:
    if arguments.hour is None and arguments.weekday is None and not arguments.device:
        return None
    weekday = f"WEEKDAY_{(arguments.weekday or 'unspecified').upper()}"
    return pb.Context(hour=arguments.hour, weekday=pb.Weekday.Value(weekday), device=arguments.device)


def _intent(arguments: Namespace) -> "pb.Intent.ValueType":
    return pb.INTENT_NEXT if arguments.next else pb.INTENT_TASTE


def _similar(client: Lookup, arguments: Namespace) -> pb.SimilarItemsResponse:
    return _told_why_empty(
        client.similar,
        pb.SimilarItemsRequest(
            positive_item_ids=_ids(client, arguments.item),
            negative_item_ids=_ids(client, arguments.unlike),
            page_size=arguments.count,
            filter=arguments.filter,
            exclude_item_ids=_ids(client, arguments.exclude),
            candidate_item_ids=_ids(client, arguments.only),
            diversity=_diversity(arguments),
            novelty=arguments.novelty,
            validate_only=arguments.validate,
        ),
        pages=arguments.pages,
    )


def _told_why_empty(ask: Callable[..., _Ranked], request: Any, *, pages: int) -> _Ranked:
    """The answer; where a filter left nothing, what a plan notes of the request goes to standard error."""
    response = ask(request, pages=pages)
    if request.filter and not response.results and not request.validate_only:
        request.validate_only = True
        for note in ask(request).plan.notes:
            print(f"note: {plain(note)}", file=sys.stderr)
    return response


def _diversity(arguments: Namespace) -> pb.Diversity:
    return pb.Diversity(strength=arguments.diversity, max_per_genre=arguments.max_per_genre)


def _find(client: Lookup, arguments: Namespace) -> pb.FindItemsResponse:
    return client.find(arguments.title, arguments.count, pages=arguments.pages)


_QUESTIONS: dict[str, Callable[[Lookup, Namespace], _Response]] = {
    "recommend": _recommend,
    "similar": _similar,
    "taste": _taste,
    "find": _find,
}


def _preferences(stated: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Genre -> stars."""
    preferences = dict(stated)
    if len(preferences) < len(stated):
        raise QueryError(f"--genre must name each genre once, got {', '.join(name for name, _ in stated)}")
    return preferences


def _interaction(told: Any, found: Resolved) -> pb.Interaction:
    """What the user said of an item that was found."""
    if not told.dislikes:
        return pb.Interaction(item_id=found.item.item_id, rating=told.rating)
    if found.scale.low == found.scale.top:
        raise QueryError(
            f"a dislike needs ratings to choose from, got a data set in which all are {found.scale.top:g}; "
            "leave --dislike out"
        )
    return pb.Interaction(item_id=found.item.item_id, rating=found.scale.low)


def _ids(client: Lookup, names: Iterable[str]) -> list[str]:
    """Ids of the items that people named."""
    return [found.item.item_id for found in _resolved(client, names)]


def _resolved(client: Lookup, names: Iterable[str]) -> Iterator[Resolved]:
    """The items that people named; says which was taken where a title is not unique."""
    for name in names:
        found = client.resolve(name)
        if found.others:
            others = f"{found.others} other item{'s' if found.others > 1 else ''}"
            which = "the one with that id" if found.item.item_id == name else "the most popular"
            print(
                f"{name!r} is the title of {others} too; took {which}, {label(found.item)}", file=sys.stderr
            )
        yield found
