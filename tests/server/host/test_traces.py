"""The spans that calls leave, and the way of one to a collector."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from deepmoviematch.server.__main__ import main
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.host.traces import Traces
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.v1 import recommender_pb2 as pb, recommender_pb2_grpc as rpc

RECOMMEND = "deepmoviematch.v1.RecommenderService/Recommend"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
WAIT_S = 30


@pytest.fixture
def traced(serve: Callable[..., Any], recommender: Recommender) -> Iterator[SimpleNamespace]:
    """A server over the films, and `spans()`, which gives those of all calls so far."""
    current, exporter = Current(), InMemorySpanExporter()
    current.set(recommender)
    traces = Traces(current, SimpleSpanProcessor(exporter))
    with serve(current, observe=traces.observe) as running:
        yield SimpleNamespace(stub=running.stub, spans=exporter.get_finished_spans)


def test_an_answered_call_leaves_one_span(traced: SimpleNamespace, recommender: Recommender) -> None:
    seen = pb.Interaction(item_id="50")
    request = pb.RecommendRequest(user=pb.UserFeatures(history=[seen]), page_size=3)
    response = traced.stub.Recommend(request)
    [span] = traced.spans()
    assert (span.name, span.kind, span.parent) == (RECOMMEND, SpanKind.SERVER, None)
    assert span.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": RECOMMEND,
        "rpc.response.status_code": "OK",
        "deepmoviematch.generation": response.metadata.generation_id,
        "deepmoviematch.results": 3,
        "deepmoviematch.candidates": len(recommender.generation.catalogue) - 1,
    }
    assert 0 < span.end_time - span.start_time < 1e9 * WAIT_S
    assert span.status.status_code is StatusCode.UNSET


def test_a_span_belongs_to_the_callers_trace(traced: SimpleNamespace) -> None:
    traced.stub.SimilarItems(pb.SimilarItemsRequest(item_id="50"), metadata=[("traceparent", SAMPLED)])
    traced.stub.EmbedUser(pb.EmbedUserRequest(), metadata=[("traceparent", "nonsense")])
    mine, other = traced.spans()
    assert f"{mine.context.trace_id:032x}" == TRACE
    assert f"{mine.parent.span_id:016x}" == PARENT
    assert other.parent is None
    assert f"{other.context.trace_id:032x}" != TRACE


def test_what_the_caller_does_not_sample_leaves_none(traced: SimpleNamespace) -> None:
    traced.stub.Recommend(pb.RecommendRequest(), metadata=[("traceparent", NOT_SAMPLED)])
    assert not traced.spans()


@pytest.mark.parametrize("fails", [False, True], ids=["the caller's fault", "the server's fault"])
def test_a_failed_call_is_an_error_if_it_is_the_servers(
    traced: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    if fails:
        monkeypatch.setattr(Recommender, "recommend_batch", None)
    with pytest.raises(grpc.RpcError):
        traced.stub.Recommend(pb.RecommendRequest(page_size=3 if fails else -1))
    [span] = traced.spans()
    code = "INTERNAL" if fails else "INVALID_ARGUMENT"
    assert span.attributes["rpc.response.status_code"] == code
    assert span.attributes.get("error.type") == (code if fails else None)
    assert span.status.status_code is (StatusCode.ERROR if fails else StatusCode.UNSET)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans as OpenTelemetry's collector does."""

    def __init__(self) -> None:
        self.came = SimpleQueue[Any]()

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.came.put(request)
        return trace_service_pb2.ExportTraceServiceResponse()


def test_spans_reach_a_collector_before_the_process_ends(store: Path) -> None:
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    register: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # untyped
    register(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    command = [sys.executable, "-m", "deepmoviematch.server", "serve", "--store", str(store), "--port", "0"]
    environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    with subprocess.Popen([*command, "--traces"], stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        address = f"127.0.0.1:{json.loads(child.stdout.readline())['port']}"
        with grpc.insecure_channel(address) as channel:
            rpc.RecommenderServiceStub(channel).Recommend(pb.RecommendRequest(), timeout=WAIT_S)
        child.send_signal(signal.SIGTERM)
    server.stop(None)
    [resource] = collector.came.get(timeout=WAIT_S).resource_spans
    assert [span.name for span in resource.scope_spans[0].spans] == [RECOMMEND]
    names = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert names["service.name"] == "deepmoviematch"
    assert child.returncode == 0


def test_without_the_extra_there_is_a_clear_error(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "deepmoviematch.server.host.traces", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    assert main(["serve", "--store", str(store), "--port", "0", "--traces"]) == 1
    assert "--traces needs opentelemetry.sdk.trace, which is missing" in capsys.readouterr().err
