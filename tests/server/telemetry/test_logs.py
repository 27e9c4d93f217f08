import json
import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from deepmoviematch.server.telemetry import logs
from deepmoviematch.v1 import recommender_pb2 as pb


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the requests left in the log, as JSON."""
    formatter = logs.JsonFormatter()
    return [
        json.loads(formatter.format(record)) for record in caplog.records if record.getMessage() == "request"
    ]


def test_a_request_leaves_one_line(running: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    response = running.stub.Recommend(pb.RecommendRequest(page_size=3))
    [line] = logged(caplog)
    assert line["method"] == "/deepmoviematch.v1.RecommenderService/Recommend"
    assert (line["code"], line["results"], line["level"]) == ("OK", 3, "info")
    assert line["generation"] == response.metadata.generation_id
    assert line["ms"] >= 0


def test_a_batch_leaves_one_line(running: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    requests = [pb.RecommendRequest(page_size=-1), pb.RecommendRequest(page_size=3)]
    running.stub.BatchRecommend(pb.BatchRecommendRequest(requests=requests))
    [line] = logged(caplog)
    assert (line["requests"], line["results"]) == (2, 3)
    assert line["generation"].startswith("g0")


def test_the_log_says_nothing_of_the_user(running: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    user = pb.UserFeatures(user_id="ann", history=[pb.Interaction(item_id="secret")])
    running.stub.Recommend(pb.RecommendRequest(user=user))
    user.genre_preferences["secret"] = 9
    with pytest.raises(grpc.RpcError):
        running.stub.Recommend(pb.RecommendRequest(user=user))
    text = caplog.text + json.dumps(logged(caplog))
    assert [line["code"] for line in logged(caplog)] == ["OK", "INVALID_ARGUMENT"]
    assert "ann" not in text
    assert "secret" not in text


def record(**extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("name", logging.ERROR, "file", 1, "went wrong", (), None)
    vars(made).update(extra)
    return made


def test_json_is_one_line_even_with_a_traceback() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        failed = record(exc_info=(type(error), error, error.__traceback__), facts={"generation": "g1"})
    text = logs.JsonFormatter().format(failed)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["event"], line["level"], line["generation"]) == ("went wrong", "error", "g1")
    assert "ValueError: two\nlines" in line["traceback"]


def test_text_shows_the_facts() -> None:
    assert logs.TextFormatter().format(record(facts={"ms": 3})).endswith("error went wrong ms=3")


def test_how_faiss_is_loaded_is_not_logged() -> None:
    program = (
        "from deepmoviematch.server.telemetry import logs; logs.configure('debug', 'text'); import faiss; "
        "import logging; logging.getLogger('faiss.loader').warning('wanted')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [line.split(maxsplit=1)[1] for line in ended.stderr.splitlines()] == ["warning wanted"]
