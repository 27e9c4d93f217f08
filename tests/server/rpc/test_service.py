"""Requests over a real socket: what the contract promises."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, strategies as st

from deepmoviematch.data.rating_head import KIND, RatingHead
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.v1 import recommender_pb2 as pb
from tests.server.rpc.messages import fields, ids, item_ids, method_for, rated, requests, seen, told, user

Outcome: TypeAlias = Callable[..., SimpleNamespace]


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
        scores = dict(zip(items, index.exact.view @ place.vector, strict=True))
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


def test_genres_are_matched_without_regard_to_case(running: SimpleNamespace) -> None:
    shouted, spelt = (
        running.stub.Recommend(user(genre_preferences={name: 4.5})) for name in ("SCI-FI", "Sci-Fi")
    )
    assert told(shouted) == told(spelt)


def test_genres_that_differ_in_case_only_are_meant_as_they_are_spelt(
    tmp_path: Path,
    publish: Callable[..., Generation],
    recommender: Recommender,
    serve: Callable[..., Any],
    outcome: Outcome,
) -> None:
    names = ("comedy", "Comedy", "Action", "Horror", "Sci-Fi")
    current = Current()
    current.set(Recommender(publish(tmp_path, replace(recommender.generation.catalogue, genre_names=names))))
    with serve(current) as running:
        both = user(genre_preferences={"comedy": 5, "Comedy": 1})
        swapped = user(genre_preferences={"comedy": 1, "Comedy": 5})
        assert told(running.stub.Recommend(both)) != told(running.stub.Recommend(swapped))
        refused = outcome(running.stub.Recommend, user(genre_preferences={"COMEDY": 5}))
    assert refused.code == "INVALID_ARGUMENT"
    assert fields(refused.status) == ['user.genre_preferences["COMEDY"]']


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
