"""Batches over a real socket: each request is answered like a single call."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeAlias

import grpc
from hypothesis import given, strategies as st

from deepmoviematch.v1 import recommender_pb2 as pb
from tests.server.rpc.messages import fields, rated, requests, seen, user

TWENTY = ["1", "50", "6", "7", *(f"m{row}" for row in range(12)), "47", "300", "301", "tt-12"]

Outcome: TypeAlias = Callable[..., SimpleNamespace]


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
    responses = running.stub.BatchRecommend(request).responses
    assert [fields(each.status) for each in responses] == [["page_size"]] * 2


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


def test_a_batch_serves_the_filter_of_each_request(running: SimpleNamespace) -> None:
    texts = ["genres:Horror", "year < 1990", "", "year >", "title:none-such"]
    requests = [pb.RecommendRequest(filter=text, page_size=30) for text in texts]
    responses = running.stub.BatchRecommend(pb.BatchRecommendRequest(requests=requests)).responses
    for request, response in zip(requests[:3], responses[:3], strict=True):
        assert response == running.stub.Recommend(request)
    assert responses[3].status.message.startswith("filter must have a value, got the end at character 7")
    assert (len(responses[4].results), responses[4].metadata.exhausted) == (0, True)


def test_the_different_filters_of_a_batch_are_bounded(running: SimpleNamespace, outcome: Outcome) -> None:
    def batch(*filters: str) -> pb.BatchRecommendRequest:
        return pb.BatchRecommendRequest(requests=[pb.RecommendRequest(filter=each) for each in filters])

    many = " ".join(["a"] * 49)
    assert outcome(running.stub.BatchRecommend, batch(*[f"{many} b"] * 200)).code == "OK"
    assert outcome(running.stub.BatchRecommend, batch(*(f"{many} {n}" for n in range(10)))).code == "OK"
    for refused, rule in (
        (
            [f"{many} {n}" for n in range(11)],
            "500 conditions and stars of different filters in all, got 550;",
        ),
        (
            ["(" * 3999 + str(n) for n in range(10)] + ["+"],
            "40000 bytes of different filters in all, got 40001;",
        ),
    ):
        ended = outcome(running.stub.BatchRecommend, batch(*refused))
        assert ended.code == "INVALID_ARGUMENT"
        assert ended.status.message.startswith(f"requests must have at most {rule}")
