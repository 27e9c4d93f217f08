"""What a trace of many services shows of this one: a span for each call, by OpenTelemetry.

A span is made when its call has ended and costs that call some 30 us, or 15 us if its caller does not
sample it. It belongs to the trace that the caller names in its metadata (W3C Trace Context). Where
spans go, which share of them and under what name of the service is said by OpenTelemetry's own
environment variables, such as OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER and OTEL_SERVICE_NAME.
"""

import os
import threading
import time

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.rpc.replies import Reply

END_S = 2.0
"""How long the last spans get to leave when the process ends."""

_OURS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""Codes by which a server, not its caller, has failed, as OpenTelemetry sees it."""

_CONTEXT = TraceContextTextMapPropagator()
_HAVING_CANDIDATES = {"Recommend", "SimilarItems"}


class Traces:
    """Makes spans of calls."""

    def __init__(self, current: Current, processor: SpanProcessor) -> None:
        """Tell `processor` of the calls that are answered from `current`."""
        self._current = current
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("deepmoviematch.server")

    def observe(
        self, method: str, code: str, seconds: float, reply: Reply | None, context: grpc.ServicerContext
    ) -> None:
        """Make the span of one call that a thread has dealt with."""
        ended = time.time_ns()
        told = {key: value for key, value in context.invocation_metadata() if key in _CONTEXT.fields}
        span = self._tracer.start_span(
            method[1:],
            _CONTEXT.extract(told),
            SpanKind.SERVER,
            {"rpc.system.name": "grpc", "rpc.method": method[1:], "rpc.response.status_code": code},
            start_time=ended - round(1e9 * seconds),
        )
        if span.is_recording():
            if reply is not None:
                span.set_attributes(self._facts(method, reply))
            if code in _OURS:
                span.set_attribute("error.type", code)
                span.set_status(StatusCode.ERROR)
        span.end(ended)

    def end(self) -> None:
        """Send what has not been sent yet, for `END_S` at most."""
        sending = threading.Thread(target=self._provider.force_flush, daemon=True)
        sending.start()
        sending.join(END_S)

    def _facts(self, method: str, reply: Reply) -> dict[str, str | int]:
        facts: dict[str, str | int] = {
            "deepmoviematch.generation": reply.generation_id,
            "deepmoviematch.results": reply.results,
        }
        if reply.trials and reply.requests is None:
            [trial] = reply.trials
            facts["deepmoviematch.experiment"], facts["deepmoviematch.variant"] = trial[1:]
        latest = self._current.latest
        if (
            method.rpartition("/")[2] in _HAVING_CANDIDATES
            and latest is not None
            and latest.generation.id == reply.generation_id
        ):
            facts["deepmoviematch.candidates"] = len(latest.generation.catalogue) - reply.filtered_out
        return facts


def exporting(current: Current) -> Traces:
    """Traces that go to a collector over OTLP, many at once, from a thread of their own."""
    os.environ.setdefault("OTEL_SERVICE_NAME", "deepmoviematch")
    return Traces(current, BatchSpanProcessor(OTLPSpanExporter()))
