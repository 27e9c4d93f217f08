"""Requests over a real socket: what the contract promises."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from hypothesis import given, strategies as st

from deepmoviematch.data.rating_head import KIND, RatingHead
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.v1 import recommender_pb2 as pb

NAN, INF = float("nan"), float("inf")

LONG = "x" * 257
TWENTY = ["1", "50", "6", "7", *(f"m{row}" for row in range(12)), "47", "300", "301", "tt-12"]

Outcome: TypeAlias = Callable[..., SimpleNamespace]


def user(**fields: Any) -> pb.RecommendRequest:
    return pb.RecommendRequest(user=pb.UserFeatures(**fields))


def seen(*items: str, **fields: Any) -> pb.RecommendRequest:
    history = [pb.Interaction(item_id=item) for item in items]
    return pb.RecommendRequest(user=pb.UserFeatures(history=history), **fields)


def rated(*ratings: float) -> pb.RecommendRequest:
    return user(history=[pb.Interaction(item_id="6", rating=rating) for rating in ratings])


def ids(response: Any) -> list[str]:
    return [item.item_id for item in response.results]


def told(response: Any) -> Any:
    """The response without its token, which depends on how the request was spelt."""
    response.ClearField("next_page_token")
    return response


def method_for(running: SimpleNamespace, request: Message) -> Any:
    methods = {
        pb.RecommendRequest: running.stub.Recommend,
        pb.BatchRecommendRequest: running.stub.BatchRecommend,
        pb.SimilarItemsRequest: running.stub.SimilarItems,
        pb.FindItemsRequest: running.stub.FindItems,
        pb.EmbedUserRequest: running.stub.EmbedUser,
    }
    return methods[type(request)]


def details(status: Any, kind: type[Any]) -> Any:
    [found] = [detail for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    message = kind()
    found.Unpack(message)
    return message


def fields(status: Any) -> list[str]:
    return [each.field for each in details(status, error_details_pb2.BadRequest).field_violations]


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
        (rated(5.000001), "user.history[0].rating must be 0.5 to 5, the scale of the ratings, got 5.000001"),
        (rated(9), "user.history[0].rating must be 0.5 to 5, the scale of the ratings, got 9"),
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


def test_similar_takes_one_item_in_either_field_and_many_in_any_order(running: SimpleNamespace) -> None:
    def asked(**named: Any) -> Any:
        return told(running.stub.SimilarItems(pb.SimilarItemsRequest(**named)))

    assert asked(item_id="6") == asked(positive_item_ids=["6", "6"])
    one = asked(item_id="6", positive_item_ids=["7", "1"], negative_item_ids=["183", "183"], page_size=1000)
    assert one == asked(positive_item_ids=["7", "1", "6", "7"], negative_item_ids=["183"], page_size=1000)
    assert not {"6", "7", "1", "183"} & set(ids(one))
    assert one.metadata.filtered_out == 0
    assert one.metadata.exhausted


def test_results_carry_what_the_catalogue_knows(running: SimpleNamespace) -> None:
    [item] = running.stub.FindItems(pb.FindItemsRequest(title="The Matrix")).results
    assert item == pb.Recommendation(
        item_id="2571",
        score=1,
        rank=1,
        title="Matrix, The",
        year=1999,
        genres=["Action", "Sci-Fi"],
        source=pb.SOURCE_LOOKUP,
    )


def test_recommend_says_how_the_answer_came_about(running: SimpleNamespace, recommender: Recommender) -> None:
    response = running.stub.Recommend(seen("6", "nope", "7", page_size=3))
    assert [item.rank for item in response.results] == [1, 2, 3]
    assert {item.source for item in response.results} == {pb.SOURCE_RETRIEVAL}
    assert response.metadata == pb.ResponseMetadata(
        generation_id=recommender.generation.id, search_mode=pb.SEARCH_MODE_EXACT, filtered_out=2
    )


def test_a_user_without_features_gets_popular_items(
    running: SimpleNamespace, recommender: Recommender
) -> None:
    catalogue = recommender.generation.catalogue
    popular = [catalogue.item_ids[row] for row in recommender.generation.popular]
    for request in (pb.RecommendRequest(), seen("nope"), user(user_id="somebody")):
        response = running.stub.Recommend(request)
        assert ids(response) == popular[:10]
        assert response.metadata.cold_start
        assert {item.source for item in response.results} == {pb.SOURCE_POPULARITY}


def test_one_genre_or_one_dislike_is_no_cold_start(running: SimpleNamespace) -> None:
    for request in (user(genre_preferences={"comedy": 5}), rated(0.5)):
        assert not running.stub.Recommend(request).metadata.cold_start


def test_a_user_is_embedded_as_recommend_does(running: SimpleNamespace, recommender: Recommender) -> None:
    generation = recommender.generation
    items = generation.catalogue.item_ids
    for intent in pb.Intent.values():
        request = seen("6", "nope", "183", page_size=1000, include_history=True, intent=intent)
        place = running.stub.EmbedUser(pb.EmbedUserRequest(user=request.user, intent=request.intent))
        index = generation.next_index if intent == pb.INTENT_NEXT else generation.index
        scores = dict(zip(items, index.vectors() @ place.vector, strict=True))
        ranked = {item.item_id: item.score for item in running.stub.Recommend(request).results}
        assert ranked == pytest.approx(scores, abs=1e-5)
        assert place.dimension == len(place.vector)
        assert place.missing_item_ids == ["nope"]
        assert place.metadata == pb.ResponseMetadata(generation_id=generation.id)
        assert {each.genre for each in place.nearest_genres} == set(generation.catalogue.genre_names)


def test_a_user_without_features_is_embedded_but_marked(running: SimpleNamespace) -> None:
    place = running.stub.EmbedUser(pb.EmbedUserRequest(user=pb.UserFeatures(user_id="somebody")))
    assert place.metadata.cold_start
    assert sum(each**2 for each in place.vector) == pytest.approx(1, abs=1e-5)


def test_ratings_are_predicted_where_the_generation_can(
    generation: Generation, serve: Callable[..., Any]
) -> None:
    size, width = generation.directions.shape
    usual = np.linspace(1, 5, size, dtype=np.float32)
    axes, spread = np.eye(width, dtype=np.float32), np.full(width, 0.1, dtype=np.float32)
    weights = Weights(
        {"kind": KIND, "damping": 1.0, "penalty": 1.0}, {"usual": usual, "axes": axes, "spread": spread}
    )
    head = RatingHead(weights, generation.directions, generation.scale)
    row_of, current = generation.catalogue.row_of, Current()
    current.set(Recommender(replace(generation, rating_head=head)))
    asked = seen("6", "50")
    with serve(current) as running:
        found = running.stub.Recommend(asked)
        predicted = head.predict({row_of["6"]: 5.0, row_of["50"]: 5.0}, [row_of[each] for each in ids(found)])
        assert [each.predicted_rating for each in found.results] == pytest.approx(predicted)
        together = running.stub.BatchRecommend(pb.BatchRecommendRequest(requests=[asked] * 9))
        assert all(each == found for each in together.responses)
        cold = running.stub.Recommend(pb.RecommendRequest())
        assert [each.predicted_rating for each in cold.results] == pytest.approx(
            [usual[row_of[each]] for each in ids(cold)]
        )
        similar = running.stub.SimilarItems(pb.SimilarItemsRequest(item_id="6"))
        assert not any(each.HasField("predicted_rating") for each in similar.results)


def test_a_generation_of_old_answers_both_intents_in_one_space_and_predicts_no_ratings(
    tmp_path: Path, publish: Callable[..., Generation], serve: Callable[..., Any]
) -> None:
    generation, current = publish(tmp_path / "store", of_old=True), Current()
    assert generation.next_index is generation.index
    current.set(Recommender(generation))
    with serve(current) as running:
        for intent in (pb.INTENT_TASTE, pb.INTENT_NEXT):
            found = running.stub.Recommend(seen("6", "50", intent=intent)).results
            assert len(found) == 10
            assert not any(each.HasField("predicted_rating") for each in found)


def test_results_are_explained_on_demand(running: SimpleNamespace) -> None:
    asked = seen("6", "183", page_size=20)
    asked.user.genre_preferences["comedy"] = 1
    plain = running.stub.Recommend(asked)
    assert not any(item.HasField("explanation") for item in plain.results)
    asked.explain = True
    response = running.stub.Recommend(asked)
    for item in response.results:
        why = item.explanation
        parts = [each.contribution for each in (*why.history, *why.genres)]
        assert {each.item_id: each.title for each in why.history} == {"6": "Heat", "183": "Alien"}
        assert [each.genre for each in why.genres] == ["Comedy"]
        total = why.baseline_score + sum(parts) + why.other_contributions + why.gap
        assert total == pytest.approx(item.score, abs=1e-5)
        assert why.score == pytest.approx(item.score, abs=1e-5)
        assert abs(why.gap) <= 1e-3
        assert why.nearest_like.title == {"6": "Heat", "183": "Alien"}[why.nearest_like.item_id]
        assert set(why.shared_genres) <= {*item.genres}
        assert why.sentence.endswith(".")
        item.ClearField("explanation")
    assert response == plain


def test_asking_for_reasons_draws_no_other_chance(running: SimpleNamespace) -> None:
    chance = pb.Exploration(share=0.8, seed=3)
    plain = running.stub.Recommend(seen("6", page_size=20, exploration=chance))
    explained = running.stub.Recommend(seen("6", page_size=20, exploration=chance, explain=True))
    assert ids(explained) == ids(plain) != ids(running.stub.Recommend(seen("6", page_size=20)))
    assert all(item.explanation.score == pytest.approx(item.score, abs=1e-5) for item in explained.results)


def test_a_batch_explains_as_single_calls_do(running: SimpleNamespace) -> None:
    asked = [
        seen("6", "183", explain=True),
        seen("6", "183"),
        pb.RecommendRequest(explain=True),
        seen("50", page_size=3, explain=True, intent=pb.INTENT_NEXT),
        seen("50", explain=True, validate_only=True),
    ]
    responses = running.stub.BatchRecommend(pb.BatchRecommendRequest(requests=asked)).responses
    assert [*responses] == [running.stub.Recommend(request) for request in asked]
    explained = [any(item.HasField("explanation") for item in each.results) for each in responses]
    assert explained == [True, False, True, True, False]


def test_a_second_page_is_explained_too(running: SimpleNamespace) -> None:
    whole = running.stub.Recommend(seen("6", page_size=6, explain=True)).results[3:]
    asked = seen("6", page_size=3, explain=True)
    asked.page_token = running.stub.Recommend(asked).next_page_token
    for item, expected in zip(running.stub.Recommend(asked).results, whole, strict=True):
        assert (item.item_id, item.rank) == (expected.item_id, expected.rank)
        [part], [expected_part] = item.explanation.history, expected.explanation.history
        assert part.contribution == pytest.approx(expected_part.contribution, abs=2e-3)


def test_genres_are_matched_without_regard_to_case(running: SimpleNamespace) -> None:
    shouted, spelt = (
        running.stub.Recommend(user(genre_preferences={name: 4.5})) for name in ("SCI-FI", "Sci-Fi")
    )
    assert told(shouted) == told(spelt)


def test_the_last_mention_of_an_item_counts(running: SimpleNamespace) -> None:
    assert told(running.stub.Recommend(rated(5, 1))) == told(running.stub.Recommend(rated(1)))


def test_an_item_without_a_rating_is_a_like(running: SimpleNamespace) -> None:
    assert told(running.stub.Recommend(seen("6"))) == told(running.stub.Recommend(rated(5)))


def test_missing_ids_are_named_once_in_the_order_of_the_request(running: SimpleNamespace) -> None:
    request = seen("b", "6", "a", "b", exclude_item_ids=["c", "a", "7"])
    response = running.stub.Recommend(request)
    assert response.missing_item_ids == ["b", "a", "c"]
    assert response.metadata.filtered_out == 2


def test_the_history_comes_back_only_if_asked_for(running: SimpleNamespace) -> None:
    request = seen("6", "7", page_size=1000)
    assert not {"6", "7"} & set(ids(running.stub.Recommend(request)))
    request.include_history = True
    response = running.stub.Recommend(request)
    assert {"6", "7"} <= set(ids(response))
    assert response.metadata.filtered_out == 0


def test_page_size_has_a_default_and_a_ceiling(running: SimpleNamespace) -> None:
    assert len(running.stub.Recommend(seen("6")).results) == 10
    everything = running.stub.Recommend(seen("6", page_size=2**31 - 1))
    assert len(everything.results) == 24
    assert everything.metadata.exhausted


def test_exhaustion_is_said_exactly_when_nothing_is_left(running: SimpleNamespace) -> None:
    for size, exhausted in ((23, False), (24, True), (25, True)):
        response = running.stub.Recommend(seen("6", page_size=size))
        assert response.metadata.exhausted == exhausted
        assert len(response.results) == min(size, 24)


def test_excluding_the_whole_catalogue_leaves_an_empty_answer(
    running: SimpleNamespace, recommender: Recommender
) -> None:
    all_ids = recommender.generation.catalogue.item_ids
    for request in (
        pb.RecommendRequest(exclude_item_ids=all_ids),
        pb.SimilarItemsRequest(item_id="6", exclude_item_ids=all_ids),
    ):
        response = method_for(running, request)(request)
        assert not response.results
        assert response.metadata.exhausted


def test_similar_items_leave_the_item_and_the_exclusions_out(running: SimpleNamespace) -> None:
    response = running.stub.SimilarItems(
        pb.SimilarItemsRequest(item_id="6", page_size=1000, exclude_item_ids=["7", "nope", "6"])
    )
    assert len(response.results) == 23
    assert not {"6", "7"} & set(ids(response))
    assert response.missing_item_ids == ["nope"]
    assert response.metadata.filtered_out == 1
    assert response.metadata.exhausted


def test_only_candidates_are_ranked(running: SimpleNamespace) -> None:
    everything = ids(running.stub.Recommend(seen("6", page_size=1000)))
    candidates = ["301", "6", "m3", "nope", "183", "m3"]
    response = running.stub.Recommend(seen("6", candidate_item_ids=candidates, exclude_item_ids=["301"]))
    assert ids(response) == [item for item in everything if item in {"m3", "183"}]
    assert response.missing_item_ids == ["nope"]
    assert (response.metadata.filtered_out, response.metadata.exhausted) == (23, True)
    [best] = running.stub.Recommend(seen("6", candidate_item_ids=["m3", "183"], page_size=1)).results
    assert best.item_id == ids(response)[0]


def test_popular_and_similar_items_are_chosen_among_candidates_too(running: SimpleNamespace) -> None:
    candidates = ["6", "m3", "183"]
    popular = running.stub.Recommend(pb.RecommendRequest(candidate_item_ids=candidates))
    assert popular.metadata.cold_start
    assert sorted(ids(popular)) == sorted(candidates)
    similar = running.stub.SimilarItems(pb.SimilarItemsRequest(item_id="6", candidate_item_ids=candidates))
    assert sorted(ids(similar)) == ["183", "m3"]
    assert (similar.metadata.filtered_out, similar.metadata.exhausted) == (22, True)


def test_unknown_candidates_leave_nothing_to_rank(running: SimpleNamespace) -> None:
    for request in (
        seen("6", candidate_item_ids=["nope"]),
        pb.RecommendRequest(candidate_item_ids=["nope"]),
        pb.SimilarItemsRequest(item_id="6", candidate_item_ids=["nope"]),
    ):
        response = method_for(running, request)(request)
        assert not response.results
        assert response.metadata.exhausted
        assert response.missing_item_ids == ["nope"]


def asked(
    items: list[str], *, times: list[int] | None = None, intent: pb.Intent.ValueType = pb.INTENT_NEXT
) -> Any:
    history = [pb.Interaction(item_id=item) for item in items]
    for interaction, seconds in zip(history, times or [], strict=False):
        interaction.time.seconds = seconds
    return pb.RecommendRequest(user=pb.UserFeatures(history=history), page_size=20, intent=intent)


def test_the_order_of_a_history_counts_for_what_comes_next_alone(running: SimpleNamespace) -> None:
    recommend = running.stub.Recommend
    for intent in (pb.INTENT_UNSPECIFIED, pb.INTENT_TASTE):
        assert ids(recommend(asked(["6", "50", "1"], intent=intent))) == ids(
            recommend(asked(["1", "6", "50"], intent=intent))
        )
    assert ids(recommend(asked(["6", "50", "1"]))) != ids(recommend(asked(["1", "6", "50"])))


def test_times_put_a_history_in_order_if_every_entry_has_one(running: SimpleNamespace) -> None:
    recommend = running.stub.Recommend
    in_order = ids(recommend(asked(["6", "50", "1"])))
    assert ids(recommend(asked(["1", "6", "50"], times=[30, 10, 20]))) == in_order
    assert ids(recommend(asked(["6", "50", "1"], times=[30, 10]))) == in_order
    assert ids(recommend(asked(["1", "6", "50", "1"]))) == in_order  # the last mention counts


def test_a_batch_answers_each_request_like_a_single_call(running: SimpleNamespace) -> None:
    requests = [
        seen("6", page_size=4),
        pb.RecommendRequest(),
        user(genre_preferences={"comedy": 5}),
        seen("6", "7", intent=pb.INTENT_NEXT),
        *(seen(item, page_size=size, exclude_item_ids=["50"]) for size, item in enumerate(TWENTY, start=1)),
        seen("nope"),
        seen("1", "nope", page_size=1000, include_history=True),
    ]
    together = running.stub.BatchRecommend(pb.BatchRecommendRequest(requests=requests))
    assert list(together.responses) == [running.stub.Recommend(request) for request in requests]


def test_a_bad_request_in_a_batch_fails_alone(running: SimpleNamespace) -> None:
    requests = [seen("6"), pb.RecommendRequest(page_size=-1), rated(9), seen("7")]
    first, second, third, fourth = running.stub.BatchRecommend(
        pb.BatchRecommendRequest(requests=requests)
    ).responses
    assert len(first.results) == len(fourth.results) == 10
    assert (fields(second.status), fields(third.status)) == (["page_size"], ["user.history[0].rating"])
    assert second.status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_a_batch_may_be_bad_from_end_to_end(running: SimpleNamespace) -> None:
    request = pb.BatchRecommendRequest(requests=[pb.RecommendRequest(page_size=-1)] * 2)
    assert all(
        fields(each.status) == ["page_size"] for each in running.stub.BatchRecommend(request).responses
    )


def test_a_request_as_of_a_time_is_one_without_what_happened_later(running: SimpleNamespace) -> None:
    recommend, moment = running.stub.Recommend, Timestamp(seconds=20)
    request = asked(["6", "50", "1"], times=[10, 20, 30])
    request.as_of.CopyFrom(moment)
    then = recommend(request)
    assert told(then) == told(recommend(asked(["6", "50"], times=[10, 20])))
    assert "1" in ids(recommend(pb.RecommendRequest(user=request.user, as_of=moment, page_size=1000)))
    request.user.history[0].ClearField("time")  # who knows when it was
    assert told(recommend(request)) == told(recommend(asked(["6", "50"])))
    nothing = asked(["6", "nope"], times=[21, 22])
    nothing.as_of.CopyFrom(moment)
    cold = recommend(nothing)
    assert cold.metadata.cold_start
    assert not cold.missing_item_ids


item_ids = st.sampled_from(["1", "50", "6", "7", "300", "m3", "nope", "", "x" * 300])


@given(data=st.data())
def test_as_of_any_time_whatever_the_history_and_the_intent(
    running: SimpleNamespace, data: st.DataObject
) -> None:
    moments = st.tuples(st.integers(0, 3), st.sampled_from([0, 999_999_999]))
    entries = data.draw(st.lists(st.tuples(item_ids.filter(_is_id), st.none() | moments), max_size=8))
    as_of = data.draw(moments)
    intent = data.draw(st.sampled_from([pb.INTENT_TASTE, pb.INTENT_NEXT]))
    whole, cut = pb.RecommendRequest(intent=intent), pb.RecommendRequest(intent=intent)
    whole.as_of.seconds, whole.as_of.nanos = as_of
    for request in (whole, cut):
        for item, moment in entries:
            if request is whole or moment is None or moment <= as_of:
                entry = request.user.history.add(item_id=item)
                if moment is not None:
                    entry.time.seconds, entry.time.nanos = moment
    assert told(running.stub.Recommend(whole)) == told(running.stub.Recommend(cut))


def _is_id(item_id: str) -> bool:
    return 1 <= len(item_id) <= 256


numbers = st.sampled_from([0.0, 0.5, 3.5, 5.0, 5.5, NAN, INF, -1.0])
requests = st.builds(
    pb.RecommendRequest,
    user=st.builds(
        pb.UserFeatures,
        genre_preferences=st.dictionaries(
            st.sampled_from(["Comedy", "comedy", "Sci-Fi", "no"]), numbers, max_size=3
        ),
        history=st.lists(st.builds(pb.Interaction, item_id=item_ids, rating=st.none() | numbers), max_size=5),
        context=st.none()
        | st.builds(
            pb.Context,
            hour=st.sampled_from([None, 0, 23, 24, -(2**31)]),
            weekday=st.sampled_from([0, 1, 7, 7, 8]),
            device=st.sampled_from(["", "tv", " Phone ", "toaster", LONG]),
        ),
    ),
    page_size=st.sampled_from([-1, 0, 1, 3, 30, 2**31 - 1]),
    exclude_item_ids=st.lists(item_ids, max_size=4),
    include_history=st.booleans(),
    candidate_item_ids=st.just([]) | st.lists(item_ids, max_size=6),
)


@given(request=requests)
def test_any_request_is_answered_within_the_contract_or_refused(
    running: SimpleNamespace, outcome: Outcome, request: pb.RecommendRequest
) -> None:
    ended = outcome(running.stub.Recommend, request)
    if ended.code != "OK":
        assert ended.code == "INVALID_ARGUMENT"
        assert fields(ended.status)
        return
    response = ended.response
    found, history = ids(response), {each.item_id for each in request.user.history}
    assert len(set(found)) == len(found) <= (request.page_size or 10)
    assert not set(request.exclude_item_ids) & set(found)
    assert request.include_history or not history & set(found)
    assert not request.candidate_item_ids or set(found) <= set(request.candidate_item_ids)
    assert [item.rank for item in response.results] == list(range(1, len(found) + 1))
    assert len(found) == (request.page_size or 10) or response.metadata.exhausted
    scores = [item.score for item in response.results]
    assert scores == sorted(scores, reverse=True)


@given(batch=st.lists(requests, min_size=1, max_size=4), times=st.sampled_from([1, 5]))
def test_a_batch_of_anything_agrees_with_single_calls(
    running: SimpleNamespace, outcome: Outcome, batch: list[pb.RecommendRequest], times: int
) -> None:
    together = pb.BatchRecommendRequest(requests=batch * times)  # the plain among many are ranked together
    responses = running.stub.BatchRecommend(together).responses
    ends = [outcome(running.stub.Recommend, request) for request in batch]
    for response, alone in zip(responses, ends * times, strict=True):
        if alone.code == "OK":
            assert response == alone.response
        else:
            assert response.status == alone.status


@given(request=requests)
def test_validation_refuses_what_would_be_refused_and_tells_the_rest(
    running: SimpleNamespace, outcome: Outcome, request: pb.RecommendRequest
) -> None:
    request.ClearField("page_token")
    ended = outcome(running.stub.Recommend, request)
    request.validate_only = True
    validated = outcome(running.stub.Recommend, request)
    assert (validated.code, validated.status) == (ended.code, ended.status)
    if ended.code == "OK":
        assert validated.response.metadata == ended.response.metadata
        assert validated.response.missing_item_ids == ended.response.missing_item_ids
        assert not validated.response.results
        assert not validated.response.next_page_token
        left = 25 - ended.response.metadata.filtered_out
        assert validated.response.plan == pb.Plan(candidates=left, notes=validated.response.plan.notes)


def test_a_plan_says_what_a_caller_might_not_expect(running: SimpleNamespace) -> None:
    request = seen("6", page_size=50, diversity=pb.Diversity(max_per_genre=1), validate_only=True)
    plan = running.stub.Recommend(request).plan
    assert (plan.candidates, plan.reordered) == (24, 24)
    assert plan.notes == [
        "24 results are left for a page of 50",
        "the list may end before all candidates were in it, by its cap for each genre",
    ]
    similar = pb.SimilarItemsRequest(item_id="6", exclude_item_ids=["7"], validate_only=True)
    response = running.stub.SimilarItems(similar)
    assert response.plan == pb.Plan(candidates=23)
    assert response.metadata.filtered_out == 1


def test_a_request_that_goes_on_can_be_validated_with_its_token(
    running: SimpleNamespace, outcome: Outcome
) -> None:
    token = running.stub.Recommend(seen("6", page_size=20)).next_page_token
    validated = running.stub.Recommend(seen("6", page_token=token, validate_only=True))
    assert validated.plan.notes == ["4 results are left for a page of 10"]
    assert validated.metadata.exhausted
    assert len(running.stub.Recommend(seen("6", page_token=token)).results) == 4
    ended = outcome(running.stub.Recommend, seen("7", page_token=token, validate_only=True))
    assert fields(ended.status) == ["page_token"]


def test_requests_of_a_batch_are_validated_one_by_one(running: SimpleNamespace) -> None:
    batch = [seen("6", validate_only=True), seen("6"), seen("6", page_size=-1, validate_only=True)] * 4
    responses = running.stub.BatchRecommend(pb.BatchRecommendRequest(requests=batch)).responses
    assert [(len(each.results), each.HasField("plan"), each.HasField("status")) for each in responses] == [
        (0, True, False),
        (10, False, False),
        (0, False, True),
    ] * 4
