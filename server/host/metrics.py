"""What an operator can see from outside: Prometheus metrics on a port of their own.

Calls are named after gRPC's own metrics (gRFC A66), with underscores for dots. What only
an answer tells (scores, cold starts, items kept out) is told of the last answers.
"""

from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import grpc
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from deepmoviematch.server.errors import ServeError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.follower import Follower
from deepmoviematch.server.host.door import Door
from deepmoviematch.server.rpc.replies import Reply
from deepmoviematch.server.rpc.service import NAME

RECENT = 1000
"""Answers that score quantiles and the like are taken from."""

_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_BYTES = (256, 512, 1024, 2048, 4096, 16384, 65536, 262144, 1048576)
_QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
_SAMPLED = f"/{NAME}/Recommend"


class _Answer(NamedTuple):
    """What is told of an answer; each as in `Reply`."""

    cold_start: bool
    top_score: float | None
    filtered_out: int
    results: int


class Metrics(Collector):
    """Counts calls, and tells the state of a server when asked."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        durations = Histogram(
            "grpc_server_call_duration_seconds",
            "Time from when a thread takes a call until it is answered. Not of calls that are refused unread "
            "or that end before their message is there, which are among those that came.",
            ("grpc_method", "grpc_status"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        sizes = Histogram(
            "grpc_server_call_sent_total_compressed_message_size_bytes",
            "Size of answers.",
            ("grpc_method",),
            buckets=_BYTES,
            registry=self._registry,
        )
        self._duration = lru_cache(None)(durations.labels)
        self._size = lru_cache(None)(sizes.labels)
        tried = Counter(
            "deepmoviematch_experiment_requests",
            "Requests answered for users of an experiment, those of batches too.",
            ("experiment", "variant"),
            registry=self._registry,
        )
        self._tried = lru_cache(None)(tried.labels)
        self._recent: deque[_Answer] = deque(maxlen=RECENT)

    def observe(
        self, method: str, code: str, seconds: float, reply: Reply | None, _: grpc.ServicerContext
    ) -> None:
        """Count one call that a thread has dealt with."""
        self._duration(method[1:], code).observe(seconds)
        if reply is not None:
            self._size(method[1:]).observe(len(reply.contents))
            for trial in reply.trials:
                self._tried(trial.experiment, trial.variant).inc()
            if method == _SAMPLED:
                self._recent.append(
                    _Answer(reply.cold_start, reply.top_score, reply.filtered_out, reply.results)
                )

    def tell(self, host: str, port: int, *, current: Current, follower: Follower, door: Door) -> int:
        """Answer scrapes on a port of their own from now on.

        Args:
            host: Address to listen on.
            port: 0 takes a free one.
            current: What answers calls.
            follower: What keeps it current.
            door: What lets calls in.

        Returns:
            The port.

        Raises:
            ServeError: If the address cannot be had.
        """
        self._current, self._follower, self._door = current, follower, door
        self._registry.register(self)
        try:
            server, _ = start_http_server(port, host, self._registry)
        except OSError as error:
            raise ServeError(
                f"the address for metrics must be free and of this machine, got {host}:{port}"
            ) from error
        return server.server_port

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client`."""
        started = CounterMetricFamily("grpc_server_call_started", "Calls that came.", labels=["grpc_method"])
        for method, count in self._door.started.items():
            started.add_metric([method[1:]], count)
        refused = CounterMetricFamily(
            "deepmoviematch_calls_refused",
            "Calls that were refused unread, or have made room for others before their reply was taken.",
            labels=["reason"],
        )
        for reason, count in self._door.refused.items():
            refused.add_metric([reason], count)
        yield from (started, refused)
        follower = self._follower
        yield CounterMetricFamily("deepmoviematch_generation_loads", "Generations loaded.", follower.loads)
        yield CounterMetricFamily(
            "deepmoviematch_generation_refusals", "Generations refused; the log says why.", follower.refusals
        )
        yield CounterMetricFamily(
            "deepmoviematch_experiment_refusals",
            "Experiments that cannot run; the log says why.",
            follower.experiments.refusals,
        )
        generation = GaugeMetricFamily(
            "deepmoviematch_generation", "1 for the generation that answers.", labels=["generation"]
        )
        if (name := self._current.generation_id) is not None:
            generation.add_metric([name], 1)
        yield generation
        yield from self._answers()

    def _answers(self) -> Iterator[Metric]:
        answers = tuple(self._recent)
        if not answers:
            return
        cold = sum(answer.cold_start for answer in answers) / len(answers)
        yield GaugeMetricFamily("deepmoviematch_recent_cold_start_ratio", "Of the last answers.", cold)
        values: dict[str, list[float]] = {
            "top_score": [answer.top_score for answer in answers if answer.top_score is not None],
            "filtered_items": [answer.filtered_out for answer in answers],
            "results": [answer.results for answer in answers],
        }
        for name, each in values.items():
            family = GaugeMetricFamily(
                f"deepmoviematch_recent_{name}", "Quantiles of the last answers.", labels=["quantile"]
            )
            for share in _QUANTILES if each else ():
                family.add_metric([str(share)], float(np.quantile(each, share)))
            yield family
