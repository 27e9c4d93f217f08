"""Requests that break the contract are refused, field by field."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from deepmoviematch.v1 import recommender_pb2 as pb
from tests.server.rpc.messages import INF, LONG, NAN, details, fields, method_for, rated, seen, user

Outcome: TypeAlias = Callable[..., SimpleNamespace]

SCALE = "the scale of the ratings, which begins at a tenth of its top unless the data go lower"

REFUSALS: dict[str, tuple[Message, list[str]]] = {
    "negative page size": (pb.RecommendRequest(page_size=-1), ["page_size"]),
    "unknown genre": (user(genre_preferences={"Westernn": 3}), ['user.genre_preferences["Westernn"]']),
    "empty genre": (user(genre_preferences={"": 3}), ['user.genre_preferences[""]']),
    "genre given twice": (
        user(genre_preferences={"comedy": 3, "Comedy": 3}),
        ['user.genre_preferences["comedy"]'],
    ),
    "too few stars": (user(genre_preferences={"Comedy": 0.4}), ['user.genre_preferences["Comedy"]']),
    "too many stars": (user(genre_preferences={"Comedy": 5.5}), ['user.genre_preferences["Comedy"]']),
    "no number of stars": (user(genre_preferences={"Comedy": NAN}), ['user.genre_preferences["Comedy"]']),
    "endless stars": (user(genre_preferences={"Comedy": INF}), ['user.genre_preferences["Comedy"]']),
    "two genres at fault": (
        user(genre_preferences={"Comedy": 9, "Westernn": 3, "Horror": 3}),
        ['user.genre_preferences["Comedy"]', 'user.genre_preferences["Westernn"]'],
    ),
    "too many genres": (
        user(genre_preferences={str(number): 3 for number in range(1001)}),
        ["user.genre_preferences"],
    ),
    "rating below the scale": (rated(3, 0.4), ["user.history[1].rating"]),
    "rating above the scale": (rated(5.1), ["user.history[0].rating"]),
    "no number of a rating": (rated(NAN), ["user.history[0].rating"]),
    "endless rating": (rated(-INF), ["user.history[0].rating"]),
    "empty item id": (seen("6", ""), ["user.history[1].item_id"]),
    "long item id": (seen(LONG), ["user.history[0].item_id"]),
    "long item id in bytes": (seen("é" * 129), ["user.history[0].item_id"]),
    "too much history": (seen(*["6"] * 10_001), ["user.history"]),
    "long user id": (user(user_id=LONG), ["user.user_id"]),
    "empty exclusion": (pb.RecommendRequest(exclude_item_ids=[""]), ["exclude_item_ids[0]"]),
    "too many exclusions": (pb.RecommendRequest(exclude_item_ids=["6"] * 10_001), ["exclude_item_ids"]),
    "empty candidate": (pb.RecommendRequest(candidate_item_ids=["6", ""]), ["candidate_item_ids[1]"]),
    "too many candidates": (pb.RecommendRequest(candidate_item_ids=["6"] * 10_001), ["candidate_item_ids"]),
    "similar, empty candidate": (
        pb.SimilarItemsRequest(item_id="6", candidate_item_ids=[""]),
        ["candidate_item_ids[0]"],
    ),
    "everything at once": (
        pb.RecommendRequest(
            user=pb.UserFeatures(
                user_id=LONG, genre_preferences={"Noir": 7}, history=[pb.Interaction(item_id="", rating=9)]
            ),
            page_size=-5,
            exclude_item_ids=["6", LONG],
        ),
        [
            "page_size",
            'user.genre_preferences["Noir"]',
            'user.genre_preferences["Noir"]',
            "user.user_id",
            "user.history[0].item_id",
            "user.history[0].rating",
            "exclude_item_ids[1]",
        ],
    ),
    "negative diversity": (
        pb.RecommendRequest(diversity=pb.Diversity(strength=-0.1, max_per_genre=-1)),
        ["diversity.strength", "diversity.max_per_genre"],
    ),
    "no numbers of a style": (
        pb.RecommendRequest(
            diversity=pb.Diversity(strength=NAN), novelty=INF, exploration=pb.Exploration(share=1.5)
        ),
        ["diversity.strength", "novelty", "exploration.share"],
    ),
    "no intent": (pb.RecommendRequest(intent=7), ["intent"]),  # type: ignore[arg-type]
    "no time": (
        user(history=[pb.Interaction(item_id="6", time=Timestamp(nanos=-5))]),
        ["user.history[0].time"],
    ),
    "too many results": (
        pb.BatchRecommendRequest(requests=[pb.RecommendRequest(page_size=1000)] * 21),
        ["requests"],
    ),
    "as of no year": (pb.RecommendRequest(as_of=Timestamp(seconds=10**12)), ["as_of"]),
    "later but bad": (
        pb.RecommendRequest(
            user=pb.UserFeatures(history=[pb.Interaction(item_id="6", rating=9, time=Timestamp(seconds=9))]),
            as_of=Timestamp(seconds=1),
        ),
        ["user.history[0].rating"],
    ),
    "too much to explain": (
        pb.BatchRecommendRequest(requests=[pb.RecommendRequest(page_size=1000, explain=True)] * 21),
        ["requests", "requests"],
    ),
    "a negative size makes no room to explain": (
        pb.BatchRecommendRequest(
            requests=[
                pb.RecommendRequest(page_size=-(2**31), explain=True),
                *[pb.RecommendRequest(page_size=50, explain=True)] * 21,
            ]
        ),
        ["requests"],
    ),
    "empty batch": (pb.BatchRecommendRequest(), ["requests"]),
    "large batch": (pb.BatchRecommendRequest(requests=[pb.RecommendRequest()] * 257), ["requests"]),
    "heavy batch": (pb.BatchRecommendRequest(requests=[seen(*["6"] * 10_000)] * 11), ["requests"]),
    "batch of many candidates": (
        pb.BatchRecommendRequest(requests=[pb.RecommendRequest(candidate_item_ids=["6"] * 10_000)] * 11),
        ["requests"],
    ),
    "similar to nothing": (pb.SimilarItemsRequest(), ["item_id"]),
    "similar to a long id": (pb.SimilarItemsRequest(item_id=LONG, page_size=-1), ["page_size", "item_id"]),
    "only unlike": (pb.SimilarItemsRequest(negative_item_ids=["6"]), ["item_id"]),
    "like and unlike": (
        pb.SimilarItemsRequest(item_id="6", positive_item_ids=["7"], negative_item_ids=["1", "7", "6", ""]),
        ["negative_item_ids[3]", "negative_item_ids[1]", "negative_item_ids[2]"],
    ),
    "too many seeds": (
        pb.SimilarItemsRequest(positive_item_ids=["6"] * 1001, negative_item_ids=["7"] * 1001),
        ["positive_item_ids", "negative_item_ids"],
    ),
    "similar, empty exclusion": (
        pb.SimilarItemsRequest(item_id="6", exclude_item_ids=["7", ""]),
        ["exclude_item_ids[1]"],
    ),
    "embedding nonsense": (
        pb.EmbedUserRequest(
            user=pb.UserFeatures(
                genre_preferences={"Noir": NAN}, history=[pb.Interaction(item_id="6", rating=9)]
            ),
            intent=7,  # type: ignore[arg-type]
        ),
        [
            'user.genre_preferences["Noir"]',
            'user.genre_preferences["Noir"]',
            "user.history[0].rating",
            "intent",
        ],
    ),
    "similar, without a style": (
        pb.SimilarItemsRequest(item_id="6", diversity=pb.Diversity(strength=2), novelty=NAN),
        ["diversity.strength", "novelty"],
    ),
    "no title": (pb.FindItemsRequest(), ["title"]),
    "long title": (pb.FindItemsRequest(title="x" * 1001, page_size=-1), ["page_size", "title"]),
}


@pytest.mark.parametrize(("request_", "expected"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_request_that_breaks_the_contract_is_told_every_field(
    running: SimpleNamespace, outcome: Outcome, request_: Message, expected: list[str]
) -> None:
    ended = outcome(method_for(running, request_), request_)
    assert ended.code == "INVALID_ARGUMENT"
    assert fields(ended.status) == expected
    info = details(ended.status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("INVALID_REQUEST", "deepmoviematch")


def test_a_refusal_names_rule_value_and_cure(running: SimpleNamespace, outcome: Outcome) -> None:
    ended = outcome(running.stub.Recommend, user(genre_preferences={"Westernn": 3}))
    assert ended.status.message == (
        'user.genre_preferences["Westernn"] must be a genre of the catalogue, got "Westernn"; '
        "the genres are Action, Animation, Comedy, Horror, Sci-Fi"
    )


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (pb.RecommendRequest(novelty=1.0000001), "novelty must be 0 to 1, got 1.0000001"),
        (pb.RecommendRequest(novelty=NAN), "novelty must be 0 to 1, got nan"),
        (
            user(genre_preferences={"Action": 5.000001}),
            'user.genre_preferences["Action"] must be 0.5 to 5 stars, got 5.000001',
        ),
        (rated(5.000001), f"user.history[0].rating must be 0.5 to 5, {SCALE}, got 5.000001"),
        (rated(9), f"user.history[0].rating must be 0.5 to 5, {SCALE}, got 9"),
    ],
    ids=["share", "no number", "stars", "rating", "whole"],
)
def test_a_refused_number_is_told_so_that_it_is_seen_to_be_out_of_range(
    running: SimpleNamespace, outcome: Outcome, request_: Message, message: str
) -> None:
    assert outcome(running.stub.Recommend, request_).status.message == message


def test_thousands_of_violations_fit_into_the_trailers(running: SimpleNamespace, outcome: Outcome) -> None:
    wild = {"😀" * 100 + str(number): 9 for number in range(1000)}
    ended = outcome(running.stub.Recommend, user(genre_preferences=wild))
    assert ended.code == "INVALID_ARGUMENT"
    request = details(ended.status, error_details_pb2.BadRequest)
    shown = len(request.field_violations) - 1
    assert shown > 5
    assert request.field_violations[-1].description == f"and {2000 - shown} more; cure these to see them"


@pytest.mark.parametrize("fields", [{}, {"positive_item_ids": ["6"]}, {"negative_item_ids": ["6"]}])
@pytest.mark.parametrize("field", ["item_id", "positive_item_ids", "negative_item_ids"])
def test_an_unknown_item_is_not_found_wherever_it_is_named(
    running: SimpleNamespace, outcome: Outcome, field: str, fields: dict[str, Any]
) -> None:
    named = {"item_id": "7", **fields, field: "none such" if field == "item_id" else ["none such"]}
    ended = outcome(running.stub.SimilarItems, pb.SimilarItemsRequest(**named))
    assert ended.code == "NOT_FOUND"
    assert details(ended.status, error_details_pb2.ErrorInfo).reason == "ITEM_NOT_FOUND"
    assert details(ended.status, error_details_pb2.ResourceInfo).resource_name == "none such"
