"""What becomes of errors, bugs and garbage on the wire."""

import logging
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given, strategies as st

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.v1 import recommender_pb2 as pb

Outcome: TypeAlias = Callable[..., SimpleNamespace]

METHODS = ("Recommend", "BatchRecommend", "SimilarItems", "FindItems", "EmbedUser")


class Failing:
    """Stands in for `Current`: every request meets the error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get(self) -> Recommender:
        raise self.error


@pytest.mark.parametrize(
    "bug", [KeyError("a secret"), MovieMatchError("a secret")], ids=["a bug", "an error without a code"]
)
def test_a_bug_is_logged_and_not_leaked(
    serve: Callable[..., Any], outcome: Outcome, caplog: pytest.LogCaptureFixture, bug: Exception
) -> None:
    with serve(Failing(bug)) as running:
        ended = outcome(running.stub.Recommend, pb.RecommendRequest())
    assert (ended.code, ended.status.message) == ("INTERNAL", "internal error")
    assert b"secret" not in ended.status.SerializeToString()
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[1] is bug


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


def test_a_message_beyond_the_bound_is_refused(running: SimpleNamespace) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        raw(running, "Recommend")(bytes(5 << 20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_request_whose_deadline_has_passed_does_no_work(
    serve: Callable[..., Any], recommender: Recommender
) -> None:
    begun, go_on, asked = threading.Event(), threading.Event(), []

    class Slow:
        def get(self) -> Recommender:
            asked.append(threading.current_thread().name)
            begun.set()
            go_on.wait(10)
            return recommender

    with serve(Slow(), threads=1) as running:
        first = running.stub.Recommend.future(pb.RecommendRequest())
        begun.wait(10)
        with pytest.raises(grpc.RpcError) as caught:  # waits behind the first for longer than it has
            running.stub.Recommend(pb.RecommendRequest(), timeout=0.05)
        go_on.set()
        first.result(10)
        running.stub.Recommend(pb.RecommendRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(asked) == 2


def raw(running: SimpleNamespace, method: str) -> Callable[[bytes], bytes]:
    """The method as bytes in, bytes out."""
    call: Callable[[bytes], bytes] = running.channel.unary_unary(
        f"/deepmoviematch.v1.RecommenderService/{method}",
        request_serializer=lambda contents: contents,
        response_deserializer=lambda contents: contents,
    )
    return call
