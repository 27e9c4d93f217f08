"""What becomes of errors and garbage on the wire."""

import math
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given, strategies as st

from deepmoviematch.indexer.generation import Generation
from deepmoviematch.server.errors import RateError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.ranking import recommender as recommender_module
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.ranking.titles import Titles
from deepmoviematch.server.rpc.status import LONGEST_RETRY_S, to_status
from deepmoviematch.v1 import recommender_pb2 as pb
from tests.server.rpc.messages import details

Outcome: TypeAlias = Callable[..., SimpleNamespace]

METHODS = ("Recommend", "BatchRecommend", "SimilarItems", "FindItems", "EmbedUser")


@pytest.mark.parametrize("method", METHODS)
def test_without_a_generation_every_method_is_unavailable(
    serve: Callable[..., Any], outcome: Outcome, method: str
) -> None:
    with serve(Current()) as running:
        ended = outcome(raw(running, method), b"")
    assert ended.code == "UNAVAILABLE"
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in ended.status.details)
    assert retry.retry_delay.seconds > 0


@pytest.mark.parametrize("method", METHODS)
@given(contents=st.binary(max_size=60))
def test_garbage_on_the_wire_is_never_internal(
    running: SimpleNamespace, outcome: Outcome, method: str, contents: bytes
) -> None:
    assert outcome(raw(running, method), contents).code in {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


def test_bytes_that_are_no_message_are_an_invalid_argument(running: SimpleNamespace) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        raw(running, "Recommend")(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "request must be a RecommendRequest message"


def test_a_text_that_is_not_utf8_is_an_invalid_argument(running: SimpleNamespace) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        raw(running, "SimilarItems")(b"\x0a\x02\xff\xfe")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_look_up_does_not_wait_for_titles_that_take_long_to_make_ready(
    serve: Callable[..., Any], outcome: Outcome, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(*catalogue: Any) -> Titles:
        begun.set()
        assert go_on.wait(10)
        return Titles(*catalogue)

    monkeypatch.setattr(recommender_module, "Titles", slowly)
    monkeypatch.setattr(recommender_module, "TITLES_WAIT_S", 0.01)
    current = Current()
    current.set(Recommender(generation))
    request = pb.FindItemsRequest(title="heat")
    with serve(current) as running:
        first = running.stub.FindItems.future(request)
        assert begun.wait(10)
        ended = outcome(running.stub.FindItems, request)
        go_on.set()
        assert len(first.result(10).results) == len(running.stub.FindItems(request).results) == 2
    assert ended.code == "UNAVAILABLE"
    assert details(ended.status, error_details_pb2.ErrorInfo).reason == "TITLES_LOADING"
    assert details(ended.status, error_details_pb2.RetryInfo).retry_delay.seconds > 0


def test_a_message_beyond_the_bound_is_refused(running: SimpleNamespace) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        raw(running, "Recommend")(bytes(5 << 20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("wait_s", "told_s"), [(0.0, 1), (0.2, 1), (1.0, 1), (19.1, 20), (math.inf, LONGEST_RETRY_S)]
)
def test_a_caller_is_told_to_wait_whole_seconds(wait_s: float, told_s: int) -> None:
    status = to_status(RateError(0.05, 1, wait_s))
    assert details(status, error_details_pb2.RetryInfo).retry_delay.ToSeconds() == told_s


def raw(running: SimpleNamespace, method: str) -> Callable[[bytes], bytes]:
    """The method as bytes in, bytes out."""
    call: Callable[[bytes], bytes] = running.channel.unary_unary(
        f"/deepmoviematch.v1.RecommenderService/{method}",
        request_serializer=lambda contents: contents,
        response_deserializer=lambda contents: contents,
    )
    return call
