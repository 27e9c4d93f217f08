"""Requests that wait together are answered as each would be alone."""

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, strategies as st

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.serving import Serving
from deepmoviematch.server.ranking.recommender import CHEAP_S, Recommender
from deepmoviematch.server.rpc.replies import Reply
from deepmoviematch.server.rpc.service import RecommenderService
from deepmoviematch.server.rpc.tokens import Tokens
from deepmoviematch.v1 import recommender_pb2 as pb

WAIT_S = 10

item_ids = st.sampled_from(["6", "7", "50", "301", "unknown", ""])
stars = st.sampled_from([None, 0.5, 3.0, 5.0, 7.0])
recommends = st.builds(
    pb.RecommendRequest,
    user=st.builds(
        pb.UserFeatures,
        genre_preferences=st.dictionaries(st.sampled_from(["Comedy", "Noir"]), st.just(4.0), max_size=1),
        history=st.lists(st.builds(pb.Interaction, item_id=item_ids, rating=stars), max_size=4),
    ),
    page_size=st.sampled_from([-1, 0, 3, 101]),
    intent=st.sampled_from([0, 1, 2, 9]),
    exclude_item_ids=st.lists(item_ids, max_size=2),
    filter=st.sampled_from(["", "", "year < 1990"]),
    explain=st.sampled_from([False, False, True]),
    experiment=st.sampled_from(["", "", "unknown"]),
)
similars = st.builds(pb.SimilarItemsRequest, item_id=item_ids, page_size=st.sampled_from([0, 3, -1]))
contents_of = {"Recommend": recommends, "SimilarItems": similars}

CHEAP: dict[str, Message] = {
    "nothing said": pb.RecommendRequest(),
    "a history, exclusions and what is next": pb.RecommendRequest(
        user=pb.UserFeatures(history=[pb.Interaction(item_id="6")]),
        intent=pb.INTENT_NEXT,
        exclude_item_ids=["7"],
        page_size=100,
    ),
    "an experiment": pb.RecommendRequest(user=pb.UserFeatures(user_id="7"), experiment="unknown"),
    "as of a time": pb.RecommendRequest(as_of=Timestamp(seconds=1)),
    "similar": pb.SimilarItemsRequest(item_id="6", exclude_item_ids=["7"]),
}
DEAR: dict[str, Message] = {
    "a filter that never came before": pb.RecommendRequest(filter="year < 1890"),
    "candidates": pb.RecommendRequest(candidate_item_ids=["6"]),
    "reasons": pb.RecommendRequest(explain=True),
    "variety": pb.RecommendRequest(diversity=pb.Diversity(strength=0.5)),
    "a later page": pb.RecommendRequest(page_token="x"),  # noqa: S106 - no secret
    "a long page": pb.RecommendRequest(page_size=101),
    "similar to several": pb.SimilarItemsRequest(positive_item_ids=["6", "7"]),
}


@pytest.fixture(scope="module")
def service(recommender: Recommender) -> RecommenderService:
    """Answers from the films, and keeps nothing."""
    current = Current()
    current.set(recommender)
    return RecommenderService(current, Tokens())


def name_of(request: Message) -> str:
    return request.DESCRIPTOR.name.removesuffix("Request")


def alone(service: RecommenderService, method: str, contents: bytes) -> Reply | str:
    try:
        return service.ask(method, contents)
    except MovieMatchError as error:
        return repr(error)


@pytest.mark.parametrize("method", ["Recommend", "SimilarItems"])
@given(data=st.data())
def test_any_requests_get_together_what_each_gets_alone(
    service: RecommenderService, method: str, data: st.DataObject
) -> None:
    serialised = contents_of[method].map(lambda request: request.SerializeToString())
    contents = data.draw(st.lists(serialised | st.binary(max_size=6), max_size=12))
    outcomes = service.ask_many(method, contents)
    assert len(outcomes) == len(contents)
    for each, outcome in zip(contents, outcomes, strict=True):
        if outcome is not None:
            told = outcome if isinstance(outcome, Reply) else repr(outcome)
            assert told == alone(service, method, each)


@pytest.mark.parametrize("request_", CHEAP.values(), ids=CHEAP)
def test_what_is_soon_answered_is_answered_with_others(
    service: RecommenderService, request_: Message
) -> None:
    outcomes = service.ask_many(name_of(request_), [request_.SerializeToString()] * 9)
    assert [type(outcome) for outcome in outcomes] == [Reply] * 9


@pytest.mark.parametrize("request_", DEAR.values(), ids=DEAR)
def test_nobody_waits_for_what_may_take_long(service: RecommenderService, request_: Message) -> None:
    cheap = CHEAP["nothing said" if name_of(request_) == "Recommend" else "similar"]
    both = [request_.SerializeToString(), cheap.SerializeToString()]
    heavy, soon = service.ask_many(name_of(request_), both)
    assert heavy is None
    assert isinstance(soon, Reply)


def test_a_filter_that_came_before_is_soon_answered(service: RecommenderService) -> None:
    for request_ in (
        pb.RecommendRequest(filter="year < 1980"),
        pb.SimilarItemsRequest(item_id="6", filter="year < 1980"),
    ):
        contents = request_.SerializeToString()
        first = service.ask(name_of(request_), contents)
        assert service.ask_many(name_of(request_), [contents] * 2) == [first] * 2


@pytest.mark.parametrize("history", [[], [pb.Interaction(item_id="6")]], ids=["popular", "near"])
def test_nobody_waits_for_a_filter_whose_last_search_was_long(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch, history: list[pb.Interaction]
) -> None:
    current = Current()
    current.set(Recommender(recommender.generation))
    service = RecommenderService(current, Tokens())
    user = pb.UserFeatures(history=history)
    slow, cheap = (
        pb.RecommendRequest(user=user, filter=f"year < {year}").SerializeToString() for year in (1980, 1990)
    )
    seconds = iter([0.0, CHEAP_S * 1.1, 1.0, 1.0 + CHEAP_S * 0.9])
    monkeypatch.setattr("deepmoviematch.server.ranking.recommender.time.thread_time", lambda: next(seconds))
    for each in (slow, cheap):
        service.ask("Recommend", each)
    monkeypatch.undo()
    heavy, soon = service.ask_many("Recommend", [slow, cheap])
    assert heavy is None
    assert isinstance(soon, Reply)
    again = service.ask("Recommend", slow)  # on a thread, and quick this time
    assert service.ask_many("Recommend", [slow]) == [again]


def test_only_small_requests_to_small_catalogues_are_cheap(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    current, small = Current(), CHEAP["nothing said"].SerializeToString()
    large = pb.RecommendRequest(user=pb.UserFeatures(history=[pb.Interaction(item_id="6", rating=3)] * 1000))
    service = RecommenderService(current, Tokens())
    assert not service.is_cheap(small)  # before anybody asked, nothing is known
    current.set(recommender)
    service.ask_many("Recommend", [small])
    assert service.is_cheap(small)
    assert not service.is_cheap(large.SerializeToString())
    monkeypatch.setattr(recommender, "is_cheap", False)  # as of a large catalogue
    assert not service.is_cheap(small)


def test_a_reply_that_was_kept_serves_whoever_waits_with_others(recommender: Recommender) -> None:
    current = Current()
    current.set(recommender)
    service = RecommenderService(current, Tokens(), keeps=10)
    contents = CHEAP["similar"].SerializeToString()
    first = service.ask("SimilarItems", contents)
    assert service.ask_many("SimilarItems", [contents])[0] is first


class Held:
    """Stands in for `Current`: once `hold` was asked for, holds whoever asks next until `go_on` is set."""

    def __init__(self, recommender: Recommender) -> None:
        self.state = Serving(recommender)
        self.asked, self.begun, self.go_on = 0, threading.Event(), threading.Event()
        self.go_on.set()

    @property
    def serving(self) -> Serving:
        self.asked += 1
        self.begun.set()
        self.go_on.wait(WAIT_S)
        return self.state

    def hold(self, stub: Any, requests: Sequence[Message]) -> list[Any]:
        """Calls that come while the polling thread is held by the first of `requests`."""
        assert stub.Recommend(pb.RecommendRequest(), timeout=WAIT_S)  # from now on it is known what is cheap
        self.asked = 0
        self.begun.clear()
        self.go_on.clear()
        [first, *others] = [(getattr(stub, name_of(each)).future, each) for each in requests]
        calls = [first[0](first[1], timeout=WAIT_S)]
        assert self.begun.wait(WAIT_S)
        calls += [ask(each, timeout=WAIT_S) for ask, each in others]
        time.sleep(0.2)  # until they have reached the server
        self.go_on.set()
        return calls


def test_calls_that_wait_are_answered_each_with_its_own(
    serve: Callable[..., Any], recommender: Recommender, running: SimpleNamespace
) -> None:
    mixed = [
        *CHEAP.values(),
        *DEAR.values(),
        pb.RecommendRequest(page_size=-1),
        pb.SimilarItemsRequest(item_id="no"),
        *CHEAP.values(),
    ]
    held = Held(recommender)
    with serve(held, threads=1) as other:
        for request, call in zip(mixed, held.hold(other.stub, mixed), strict=True):
            expected = getattr(running.stub, name_of(request)).future(request, timeout=WAIT_S)
            assert call.code() is expected.code()
            if call.exception() is None:
                assert call.result().results == expected.result().results
    # Once for each that is heavy, and for some of the others at once.
    assert held.asked < len(mixed)


def test_a_bug_with_one_request_does_not_meet_those_that_wait_with_it(
    serve: Callable[..., Any], recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, held = recommender.recommend_batch, Held(recommender)

    def broken(questions: Any) -> Any:
        if any(listing.limit == 7 for _, listing in questions):
            raise KeyError("a bug")
        return usual(questions)

    monkeypatch.setattr(recommender, "recommend_batch", broken)
    with serve(held, threads=1) as other:
        calls = held.hold(other.stub, [pb.RecommendRequest(page_size=size) for size in (5, 6, 7, 8)])
        assert [call.code().name for call in calls] == ["OK", "OK", "INTERNAL", "OK"]
