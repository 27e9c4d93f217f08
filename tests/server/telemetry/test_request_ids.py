"""A call can be found again in the log, by the name that the caller gave it or was given."""

import json
import logging
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.server.telemetry.logs import JsonFormatter
from deepmoviematch.server.telemetry.request_ids import HEADER, LONGEST, request_id
from deepmoviematch.v1 import recommender_pb2 as pb

TOO_LONG = "a" * (LONGEST + 1)


def asked(running: SimpleNamespace, request: Any, *names: str) -> str | None:
    """The name that a call has when it has ended, well or not."""
    try:
        _, call = running.stub.Recommend.with_call(request, metadata=[(HEADER, name) for name in names])
    except grpc.RpcError as error:
        call = error
    return dict(call.trailing_metadata()).get(HEADER)


@pytest.mark.parametrize("request_", [pb.RecommendRequest(), pb.RecommendRequest(page_size=-1)])
def test_a_call_keeps_its_name_whether_it_is_answered_or_refused(
    running: SimpleNamespace, caplog: pytest.LogCaptureFixture, request_: pb.RecommendRequest
) -> None:
    caplog.set_level(logging.INFO)
    assert asked(running, request_, "order-7/a") == "order-7/a"
    [line] = [json.loads(JsonFormatter().format(each)) for each in caplog.records if each.msg == "request"]
    assert line["request_id"] == "order-7/a"


def test_calls_with_a_bad_name_get_a_good_one_each(
    running: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    given = [("two words",), (TOO_LONG,), ('"', "\\"), ("",)]
    made = {asked(running, pb.RecommendRequest(), *names) for names in given}
    assert len(made - {None}) == len(given)
    assert asked(running, pb.RecommendRequest(), "a b", "sane") == "sane"


def test_calls_without_a_name_get_one_that_they_hear_of_when_they_fail(
    running: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert asked(running, pb.RecommendRequest()) is None
    told = [asked(running, pb.RecommendRequest(page_size=-1)) for _ in range(2)]
    logged = [vars(each)["facts"]["request_id"] for each in caplog.records if each.msg == "request"]
    assert len(set(logged)) == 3
    assert logged[1:] == told


def test_where_nothing_is_logged_names_come_back_all_the_same(
    running: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    failing = pb.RecommendRequest(page_size=-1)
    for request in (pb.RecommendRequest(), failing):
        assert asked(running, request, "order-7/a") == "order-7/a"
        assert asked(running, request, "two words")
    assert len({asked(running, failing) for _ in range(2)} - {None}) == 2
    assert asked(running, pb.RecommendRequest()) is None
    assert not [each for each in caplog.records if each.msg == "request"]


def test_a_call_that_nobody_asks_for_by_name_is_given_none() -> None:
    assert request_id([("user-agent", "x")], always=False) == ("", False)
    assert request_id([(HEADER, "name")], always=False) == ("name", True)


@given(st.text() | st.binary())
def test_a_name_is_short_and_stands_in_json_as_it_is(name: Any) -> None:
    found, wanted = request_id([("user-agent", "x"), (HEADER, name)])
    assert wanted
    assert found.isascii()
    assert len(found) <= LONGEST
    assert json.dumps(found) == f'"{found}"'
