"""Requests that are only to be validated."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeAlias

from hypothesis import given

from deepmoviematch.v1 import recommender_pb2 as pb
from tests.server.rpc.messages import fields, requests, seen

Outcome: TypeAlias = Callable[..., SimpleNamespace]


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


def test_a_plan_notes_what_a_filter_asks_lists_for_that_no_item_has(running: SimpleNamespace) -> None:
    notes = [
        'no item has "horro" among its genres; did you mean "horror"?',
        'no item has "xyz" among its genres',
    ]
    asked = "NOT genres:horro genres:(xyz OR horror OR Horro*) genres:xyz title:nothing genres:*"
    for answer, request in (
        (running.stub.Recommend, seen("6", filter=asked, validate_only=True)),
        (running.stub.SimilarItems, pb.SimilarItemsRequest(item_id="6", filter=asked, validate_only=True)),
    ):
        assert [note for note in answer(request).plan.notes if note.startswith("no item")] == notes


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
