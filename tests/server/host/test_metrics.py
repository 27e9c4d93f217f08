"""What an operator sees at /metrics."""

import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deepmoviematch.indexer.experiments import CURRENT, Experiment, Variant
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.errors import ServeError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.follower import Follower
from deepmoviematch.server.host.metrics import Metrics
from deepmoviematch.server.host.pool import Pool
from deepmoviematch.server.rpc.replies import Reply
from deepmoviematch.v1 import recommender_pb2 as pb

METHOD = "deepmoviematch.v1.RecommenderService"


def scraped(port: int) -> dict[tuple[str, str], float]:
    """(name, label values joined by a comma) -> value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        text = response.read().decode()
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_calls_generations_and_refusals_are_counted(
    serve: Callable[..., Any],
    outcome: Callable[..., SimpleNamespace],
    publish: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = publish(tmp_path, seed=1)
    current, metrics = Current(), Metrics()
    follower = Follower(tmp_path, current, on_ready=lambda: None)
    follower.poll()
    with serve(current, observe=metrics.observe) as running:
        door = running.wiring.door
        port = metrics.tell("127.0.0.1", 0, current=current, follower=follower, door=door)
        for size in (3, 5, -1):
            outcome(running.stub.Recommend, pb.RecommendRequest(page_size=size))
        Store(tmp_path).begin_experiment(Experiment("trial", (Variant("only", CURRENT),)))
        follower.poll()
        tried = pb.RecommendRequest(page_size=5, experiment="trial", user=pb.UserFeatures(user_id="7"))
        outcome(running.stub.Recommend, tried)
        outcome(running.stub.BatchRecommend, pb.BatchRecommendRequest(requests=[tried, tried]))
        damaged = publish(tmp_path, seed=2)
        (tmp_path / "generations" / damaged.id / "popularity.npy").unlink()
        follower.poll()
        monkeypatch.setattr(Pool, "crowded", lambda self, handler: True)
        outcome(running.stub.SimilarItems, pb.SimilarItemsRequest(item_id="6"))
        seen = scraped(port)
    assert seen["grpc_server_call_started_total", f"{METHOD}/Recommend"] == 4
    assert seen["grpc_server_call_started_total", f"{METHOD}/SimilarItems"] == 1
    duration = "grpc_server_call_duration_seconds_count"
    assert seen[duration, f"{METHOD}/Recommend,OK"] == 3
    assert seen[duration, f"{METHOD}/Recommend,INVALID_ARGUMENT"] == 1
    assert seen["deepmoviematch_experiment_requests_total", "trial,only"] == 3
    assert seen["deepmoviematch_experiment_refusals_total", ""] == 0
    assert seen["deepmoviematch_calls_refused_total", "OVERLOADED"] == 1
    assert seen["deepmoviematch_generation", first.id] == 1
    assert seen["deepmoviematch_generation_loads_total", ""] == 1
    assert seen["deepmoviematch_generation_refusals_total", ""] == 1
    assert seen["deepmoviematch_recent_cold_start_ratio", ""] == 1  # nothing was told of any user
    assert seen["deepmoviematch_recent_results", "0.99"] == pytest.approx(5, abs=0.1)


def test_what_the_last_answers_were_like_is_told_without_reading_them_again(
    running: SimpleNamespace, tmp_path: Path
) -> None:
    metrics, current = Metrics(), Current()
    context: Any = None
    replies = (
        Reply(b"\xff", "g", 10, filtered_out=1, top_score=0.25),
        Reply(b"\xff", "g", 20, filtered_out=2, top_score=0.5),
        Reply(b"\xff", "g", 0, filtered_out=6, cold_start=True),
    )
    for reply in replies:
        metrics.observe(f"/{METHOD}/Recommend", "OK", 0.1, reply, context)
    follower = Follower(tmp_path, current, on_ready=lambda: None)
    seen = scraped(metrics.tell("127.0.0.1", 0, current=current, follower=follower, door=running.wiring.door))
    assert seen["deepmoviematch_recent_cold_start_ratio", ""] == pytest.approx(1 / 3)
    medians = {name: seen[f"deepmoviematch_recent_{name}", "0.5"] for name in ("filtered_items", "results")}
    assert medians == {"filtered_items": 2, "results": 10}
    assert seen["deepmoviematch_recent_top_score", "0.5"] == 0.375  # the third had none


def test_a_port_that_is_taken_is_a_clear_error(running: SimpleNamespace, tmp_path: Path) -> None:
    current, door = Current(), running.wiring.door
    follower = Follower(tmp_path, current, on_ready=lambda: None)
    with pytest.raises(ServeError, match="the address for metrics must be free and of this machine"):
        Metrics().tell("127.0.0.1", running.wiring.port, current=current, follower=follower, door=door)
