"""Asks a running server at a steady rate, whether it keeps up or not, and checks every answer.

Arrivals are a Poisson process that does not wait for answers (an open loop), and latency
counts from when a call was due. A tester that sends the next call when the last one is
answered would ask less of a server the slower it is, and never see its stalls.
"""

import json
import math
import sys
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import grpc
import numpy as np

from deepmoviematch.client import CallError, Client
from deepmoviematch.client.channel import SERVICE, open_channel
from deepmoviematch.server.errors import LoadTestError
from deepmoviematch.server.tools.latency import Measurements, outcome_counts, print_summary
from deepmoviematch.server.tools.questions import CheckedCall, number_of
from deepmoviematch.server.tools.reach import CURE, Reach
from deepmoviematch.server.tools.traffic import Traffic, read_histories
from deepmoviematch.v1 import recommender_pb2 as pb

AGREE_S = 2.0
"""How long after the first answer of a new generation the one before may still answer: workers follow
the store each by itself."""

START_S = 10.0
"""How long to wait for the server before the test."""

DRAWN = 5000
"""Different questions; drawn before the test begins, and asked in turn."""

_RESPONSES: dict[str, Any] = {
    "Recommend": pb.RecommendResponse,
    "BatchRecommend": pb.BatchRecommendResponse,
    "SimilarItems": pb.SimilarItemsResponse,
    "FindItems": pb.FindItemsResponse,
    "EmbedUser": pb.EmbedUserResponse,
}


def run(arguments: Namespace) -> None:
    """Test the server that the command line names and print what came out.

    Raises:
        LoadTestError: If the test cannot begin, an answer was wrong, or more calls failed or were
            refused than is allowed.
    """
    due = list(arrivals(arguments.rate, arguments.seconds, seed=arguments.seed))
    if not due:
        raise LoadTestError(
            f"a test must ask something, got no call in {arguments.seconds:g} s at {arguments.rate:g} "
            "calls/s; raise --seconds or --rate"
        )
    png = arguments.png
    if png is not None and not (png.suffix == ".png" and png.parent.is_dir()):
        raise LoadTestError(f"--png must name a .png file in a folder that is there, got {png}")
    histories = read_histories(arguments.data) if arguments.data else None
    reach = Reach.of(arguments)
    try:
        with Client(
            reach.address, credentials=reach.credentials, api_key=reach.api_key, timeout_s=START_S
        ) as client:
            traffic = Traffic(client, histories, seed=arguments.seed)
    except CallError as error:
        if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise _unanswered(reach) from error
        raise LoadTestError(f"a healthy server must answer at {arguments.at}, got {error}") from error
    test = LoadTest(
        reach,
        [traffic.draw() for _ in range(DRAWN)],
        connections=arguments.connections,
        timeout_s=arguments.timeout_s,
    )
    threading.Thread(target=test.report, daemon=True).start()
    measured = test.run(due)
    summary = {
        "at": arguments.at,
        "rate": arguments.rate,
        "connections": arguments.connections,
        "seed": arguments.seed,
        **measured.summary(test.seconds),
    }
    if arguments.json:
        print(json.dumps(summary))
    else:
        print_summary(summary)
    _draw(measured, arguments)
    _judge(summary, arguments)


def arrivals(rate: float, seconds: float, *, seed: int) -> Iterator[float]:
    """When calls are due, in seconds from the beginning: a Poisson process."""
    rng = np.random.default_rng(seed)
    due = rng.exponential(1 / rate)
    while due < seconds:
        yield float(due)
        due += rng.exponential(1 / rate)


class LoadTest:
    """One run against one server."""

    def __init__(
        self,
        reach: Reach,
        questions: Sequence[CheckedCall],
        *,
        connections: int = 1,
        timeout_s: float = 5.0,
        heed: Callable[[CheckedCall, Any], None] = lambda *_: None,
    ) -> None:
        """Prepare a run.

        Args:
            reach: The server.
            questions: Asked in turn.
            connections: How many to spread the calls over.
            timeout_s: Deadline of a call.
            heed: Called with every answer and what it answers.
        """
        self._heed = heed
        self._reach = reach
        self._questions = [(question, question.request.SerializeToString()) for question in questions]
        self._connections = connections
        self._timeout_s = timeout_s
        self._measured = Measurements()
        self._seen = [(-math.inf, -1)]  # when which generation was first seen, the newest last
        self._lock = threading.Lock()
        self._finished = threading.Semaphore(0)
        self._over = threading.Event()
        self._bug: Exception | None = None
        self._began = time.perf_counter()
        self.seconds = 0.0
        """How long the run took."""

    def run(self, due: Iterable[float], *, over: threading.Event | None = None) -> Measurements:
        """Send a call at each of the times `due`, and wait for all answers.

        Args:
            due: In seconds from the beginning, ascending.
            over: Ends the run before its time.

        Raises:
            LoadTestError: If the server cannot be reached, or says that it is not healthy, or if an
                answer cannot be checked.
        """
        channels = [
            open_channel(self._reach.address, self._reach.credentials, number, health=True)
            for number in range(self._connections)
        ]
        try:
            for channel in channels:
                grpc.channel_ready_future(channel).result(START_S)
        except grpc.FutureTimeoutError as error:
            raise _unanswered(self._reach) from error
        methods: list[dict[str, Any]] = [
            {
                name: channel.unary_unary(f"/{SERVICE}/{name}", response_deserializer=response.FromString)
                for name, response in _RESPONSES.items()
            }
            for channel in channels
        ]
        self._began = time.perf_counter()
        sent = 0
        for number, due_s in enumerate(due):
            if self._bug is not None or (over is not None and over.is_set()):
                break
            while (wait_s := due_s - self._now()) > 0:
                time.sleep(wait_s)
            question, contents = self._questions[number % len(self._questions)]
            self._send(methods[number % len(methods)][question.call], question, contents, due_s)
            sent += 1
        for _ in range(sent):
            self._finished.acquire()
        self.seconds = self._now()
        self._over.set()
        for channel in channels:
            channel.close()
        if self._bug is not None:
            raise LoadTestError(f"every answer must be checked, got {self._bug!r}") from self._bug
        return self._measured

    def report(self) -> None:
        """Say on standard error how it goes, once a second, until it is over."""
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""
        before = 0
        while not self._over.wait(1.0):
            outcomes, latency_s = list(self._measured.outcomes), list(self._measured.latency_s)
            counts = outcome_counts(Counter(outcomes))
            recent = sorted(latency_s[before:]) or [0.0]
            line = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
            p50, p99 = (1e3 * recent[int(share * (len(recent) - 1))] for share in (0.5, 0.99))
            print(
                f"{clear}{self._now():5.0f} s  {line}; now {len(latency_s) - before:,}/s, "
                f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
                end="" if clear else "\n",
                file=sys.stderr,
                flush=True,
            )
            before = len(latency_s)
        print(clear, end="", file=sys.stderr, flush=True)

    def _now(self) -> float:
        return time.perf_counter() - self._began

    def _send(self, method: Any, question: CheckedCall, contents: bytes, due_s: float) -> None:
        sent_s = self._now()
        oldest = max(number for seen_s, number in self._seen if seen_s < sent_s - AGREE_S)

        def finish(call: Any) -> None:
            following = None
            try:
                following = self._take(call, question, due_s, sent_s, oldest)
                if following is not None:
                    contents = following.request.SerializeToString()
                    self._send(method, following, contents, self._now())
            except Exception as error:  # gRPC would let it pass, and nobody would end the run
                self._bug, following = error, None
            if following is None:
                self._finished.release()

        call = method.future(contents, timeout=self._timeout_s, metadata=self._reach.metadata)
        call.add_done_callback(finish)

    def _take(
        self, call: Any, question: CheckedCall, due_s: float, sent_s: float, oldest: int
    ) -> CheckedCall | None:
        """Take down how a call ended; what to ask next, if there is something."""
        latency_s = self._now() - due_s
        outcome, fault, generation = _outcome(call, question, oldest)
        with self._lock:
            self._measured.add(question.call, due_s, outcome, latency_s, sent_s - due_s)
            if fault:
                self._measured.faults[fault] += 1
            if generation:
                self._heed(question, call.result())
                self._measured.generations[generation] += 1
                if (newest := number_of(generation)) > self._seen[-1][1]:
                    self._seen.append((self._now(), newest))
        return question.following(call.result()) if outcome == "OK" else None


def _unanswered(reach: Reach) -> LoadTestError:
    return LoadTestError(
        f"a healthy server must answer at {reach.address}, got none within {START_S:g} s; {CURE}"
    )


def _outcome(call: Any, question: CheckedCall, oldest: int) -> tuple[str, str | None, str | None]:
    """How a call ended, what is wrong with it, and the generation that answered."""
    if call.exception() is not None:
        code = call.code().name
        return code, f"{code}: {call.details()}" if code != "RESOURCE_EXHAUSTED" else None, None
    response = call.result()
    fault = question.fault(response, oldest)
    return "WRONG" if fault else "OK", fault, question.generation(response)


def _draw(measured: Measurements, arguments: Namespace) -> None:
    if arguments.png is None:
        return
    try:
        measured.draw(arguments.png, f"{arguments.rate:g} calls/s at {arguments.at}")
    except ImportError:
        print(f"no picture: {arguments.png} needs matplotlib, which is not installed", file=sys.stderr)


def _judge(summary: dict[str, Any], arguments: Namespace) -> None:
    everything = summary["calls"]["all"]
    counts = outcome_counts(everything["outcomes"])
    shares = {name: count / max(everything["asked"], 1) for name, count in counts.items()}
    allowed = {"wrong": 0.0, "failed": arguments.allow_failed, "refused": arguments.allow_refused}
    for name, most in allowed.items():
        if shares[name] > most:
            raise LoadTestError(
                f"at most {most:.3%} of the calls may be {name}, got {shares[name]:.3%} ({counts[name]:,})"
            )
