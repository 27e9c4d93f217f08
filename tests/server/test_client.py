"""The client for other services, against real servers."""

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from deepmoviematch.client import CallError, Client, pb
from deepmoviematch.server.errors import DeadlinePassedError, NotReadyError, OverloadedError, UnknownItemError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.serving import Serving
from deepmoviematch.server.ranking.recommender import Recommender

WAIT_S = 30


class Failing:
    """Stands in for `Current`: fails a number of times first."""

    def __init__(self, recommender: Recommender, error: Exception, times: int) -> None:
        self.recommender, self.error, self.times, self.asked = recommender, error, times, 0

    @property
    def serving(self) -> Serving:
        self.asked += 1
        if self.asked <= self.times:
            raise self.error
        return Serving(self.recommender)


def test_every_call_is_answered(running: SimpleNamespace) -> None:
    with Client(running.address) as client:
        likes = [pb.Interaction(item_id="6")]
        request = pb.RecommendRequest(user=pb.UserFeatures(history=likes), page_size=5)
        answer = client.recommend(request)
        assert len(answer.results) == 5
        [batched] = client.batch_recommend(pb.BatchRecommendRequest(requests=[request])).responses
        assert [item.item_id for item in batched.results] == [item.item_id for item in answer.results]
        assert len(client.similar_items(pb.SimilarItemsRequest(item_id="6")).results) == 10
        place = client.embed_user(pb.EmbedUserRequest(user=request.user))
        assert len(place.vector) == place.dimension > 0
        assert client.find_items(pb.FindItemsRequest(title="heat")).results[0].title == "Heat"


def test_what_is_unavailable_for_a_moment_is_asked_again(
    serve: Callable[..., Any], recommender: Recommender
) -> None:
    failing = Failing(recommender, NotReadyError(), times=2)
    with serve(failing) as running, Client(running.address) as client:
        running.wiring.health.serve()
        assert client.recommend(pb.RecommendRequest()).results
    assert failing.asked == 3


@pytest.mark.parametrize(
    "error", [OverloadedError(), UnknownItemError("x"), DeadlinePassedError(), KeyError("a bug")]
)
def test_nothing_else_is_asked_again(
    serve: Callable[..., Any], recommender: Recommender, error: Exception
) -> None:
    failing = Failing(recommender, error, times=1)
    with serve(failing) as running, Client(running.address) as client:
        running.wiring.health.serve()
        with pytest.raises(CallError):
            client.recommend(pb.RecommendRequest())
    assert failing.asked == 1


def test_a_refusal_tells_what_a_program_needs(serve: Callable[..., Any], recommender: Recommender) -> None:
    failing = Failing(recommender, OverloadedError(), times=1)
    with serve(failing) as running, Client(running.address) as client:
        running.wiring.health.serve()
        with pytest.raises(
            CallError, match="RESOURCE_EXHAUSTED: more calls come than can be answered"
        ) as caught:
            client.recommend(pb.RecommendRequest())
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (caught.value.reason, caught.value.retry_after_s) == ("OVERLOADED", 1.0)
        with pytest.raises(CallError, match="page_size must be 0 or more, got -1") as caught:
            client.recommend(pb.RecommendRequest(page_size=-1))
        assert list(caught.value.violations) == ["page_size"]


@pytest.mark.parametrize(
    "details",
    [status_pb2.Status(code=5, message="in other words").SerializeToString(), b"\xff"],
    ids=["another message", "no status"],
)
def test_details_that_something_on_the_way_has_changed_are_left_out(details: bytes) -> None:
    def refuse(request: bytes, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(grpc.StatusCode.NOT_FOUND, "in words")

    handler: Any = grpc.unary_unary_rpc_method_handler(refuse)
    server = grpc.server(ThreadPoolExecutor(1))
    service = "deepmoviematch.v1.RecommenderService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Recommend": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(f"127.0.0.1:{port}", wait=False) as client, pytest.raises(CallError) as caught:
        client.recommend(pb.RecommendRequest())
    server.stop(None)
    assert (str(caught.value), caught.value.code) == ("NOT_FOUND: in words", grpc.StatusCode.NOT_FOUND)
    assert (caught.value.reason, caught.value.retry_after_s, caught.value.violations) == ("", None, {})


def test_a_call_waits_until_the_server_says_that_it_is_healthy(
    serve: Callable[..., Any], recommender: Recommender
) -> None:
    current = Current()
    current.set(recommender)
    with serve(current) as running, Client(running.address, timeout_s=WAIT_S) as client:
        answered: list[pb.RecommendResponse] = []
        caller = threading.Thread(target=lambda: answered.append(client.recommend(pb.RecommendRequest())))
        caller.start()
        caller.join(0.3)
        assert not answered
        running.wiring.health.serve()
        caller.join(WAIT_S)
        assert answered[0].results


def test_a_call_ends_with_its_deadline(serve: Callable[..., Any]) -> None:
    with serve(Current()) as running, Client(running.address, timeout_s=0.2) as client:
        with pytest.raises(CallError) as caught:
            client.recommend(pb.RecommendRequest())
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_calls_of_a_closed_client_end_as_those_do_that_were_under_way(serve: Callable[..., Any]) -> None:
    with serve(Current()) as running:
        client = Client(running.address, timeout_s=WAIT_S)
        with ThreadPoolExecutor(1) as caller:
            under_way = caller.submit(client.recommend, pb.RecommendRequest())
            client.close()
            errors = [under_way.exception(WAIT_S)]
        for ask in (
            lambda: client.recommend(pb.RecommendRequest()),
            lambda: [*client.pages(pb.FindItemsRequest())],
        ):
            with pytest.raises(
                CallError, match="CANCELLED: the client must be open, got a closed one"
            ) as caught:
                ask()
            errors.append(caught.value)
    assert [getattr(error, "code", None) for error in errors] == [grpc.StatusCode.CANCELLED] * 3


@pytest.mark.parametrize(
    "request_",
    [
        pb.RecommendRequest(page_size=4),
        pb.SimilarItemsRequest(item_id="6", page_size=4),
        pb.FindItemsRequest(title="film", page_size=4),
    ],
    ids=lambda request: type(request).__name__,
)
def test_pages_come_one_after_the_other_until_nothing_is_left(
    running: SimpleNamespace, request_: Any
) -> None:
    asked = type(request_).FromString(request_.SerializeToString())
    with Client(running.address) as client:
        pages = [*client.pages(request_)]
        [whole] = client.pages(type(request_)(page_size=1000, **named(request_)))
        rest = [*client.pages(type(request_)(page_token=pages[0].next_page_token, **named(request_)))]
    assert [item.item_id for page in pages for item in page.results] == [
        item.item_id for item in whole.results
    ]
    assert [len(page.results) for page in pages[:-1]] == [4] * (len(pages) - 1)
    assert [item for page in rest for item in page.results] == list(whole.results)[4:]
    assert request_ == asked


def named(request_: Any) -> dict[str, Any]:
    return {field.name: value for field, value in request_.ListFields() if field.name != "page_size"}


def test_it_loads_nothing_of_the_server() -> None:
    script = "import sys, deepmoviematch.client; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout
    names = loaded.split()
    assert "deepmoviematch.client" in names
    assert not {"numpy", "faiss", "rich", "deepmoviematch.server", "deepmoviematch.data"} & set(names)
