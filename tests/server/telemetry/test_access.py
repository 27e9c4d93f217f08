import io
import json
import logging
from select import PIPE_BUF

import pytest

from deepmoviematch.server.rpc.replies import Chance, Reply, Trial
from deepmoviematch.server.telemetry import access, logs
from deepmoviematch.server.telemetry.access import AccessHandler

METHOD = "/deepmoviematch.v1.RecommenderService/Recommend"
REPLIES = [
    Reply(b"", "g000001-0123abcd", 10),
    Reply(b"", "g000001-0123abcd", 30, 3),
    Reply(b"", "g000001-0123abcd", 2, chances=(Chance(0, 11, [True, False], [0.015625, 0.9]),)),
    Reply(b"", "g000001-0123abcd", 10, 1, trials=(Trial(0, "wider", "control"),)),
]


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written before a test says so."""
    monkeypatch.setattr(access, "FLUSH_S", 1e6)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("reply", REPLIES, ids=["one", "batch", "exploring", "tried"])
@pytest.mark.parametrize("worker", [None, 2])
def test_a_line_says_what_the_logging_system_would(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reply: Reply, worker: int | None
) -> None:
    caplog.set_level(logging.INFO)
    logs.log_answer(METHOD, "OK", 0.0012344, reply, "order-7")
    [record] = caplog.records
    expected = json.loads(logs.JsonFormatter().format(record)) | (
        {} if worker is None else {"worker": worker}
    )

    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure("info", "json", worker=worker)
    logs.log_answer(METHOD, "OK", 0.0012344, reply, "order-7")
    logging.root.handlers[-1].flush()
    [line] = lines(stream)
    assert line.keys() == expected.keys()
    assert len(str(line["time"])) == len(expected["time"])
    assert {**line, "time": 0} == {**expected, "time": 0}


@pytest.mark.parametrize(("level", "form"), [("warning", "json"), ("warning", "text")])
def test_there_are_no_such_lines_where_they_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch, level: str, form: str
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure(level, form)
    logs.log_answer(METHOD, "OK", 0.001, REPLIES[0], "order-7")
    logging.root.handlers[-1].flush()
    assert stream.getvalue() == ""


def test_where_text_is_wanted_such_lines_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure("info", "text")
    logs.log_answer(METHOD, "OK", 0.001, REPLIES[0], "order-7")
    logging.root.handlers[-1].flush()
    assert "results=10" in stream.getvalue()


def test_lines_are_in_order_and_whole_whoever_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MOST_WAITING", 3)
    stream = io.StringIO()
    handler = AccessHandler(stream)
    for number in range(10):
        handler.answered(METHOD, number / 1000, REPLIES[0], "order-7")
        assert number - len(lines(stream)) < 3  # so few wait at most
    handler.flush()
    assert [line["ms"] for line in lines(stream)] == list(range(10))


class Pipe(io.StringIO):
    """Remembers what was written at once."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def write(self, text: str) -> int:
        self.written.append(text)
        return super().write(text)


def test_a_pipe_takes_whole_lines_so_that_those_of_others_come_between_them() -> None:
    stream = Pipe()
    handler = AccessHandler(stream)
    for number in range(100):
        handler.answered(METHOD, number / 1000, REPLIES[0], "order-7")
    handler.flush()
    assert [line["ms"] for line in lines(stream)] == list(range(100))
    assert all(text.endswith("\n") and len(text) <= PIPE_BUF for text in stream.written)
    assert len(stream.written) < 10  # and not one by one


def test_a_line_that_no_pipe_takes_whole_is_written_alone() -> None:
    stream = Pipe()
    handler = AccessHandler(stream)
    long = Reply(b"", "g000001-0123abcd", 1000, chances=(Chance(0, 1, [True] * 1000, [0.015625] * 1000),))
    for reply in (long, REPLIES[0], long):
        handler.answered(METHOD, 0.001, reply, "order-7")
    handler.flush()
    assert [len(text) > PIPE_BUF for text in stream.written] == [True, False, True]
    assert [line["results"] for line in lines(stream)] == [1000, 10, 1000]


def test_what_waits_is_written_when_the_process_ends() -> None:
    stream = io.StringIO()
    handler = AccessHandler(stream)
    handler.answered(METHOD, 0.001, REPLIES[0], "order-7")
    logging.shutdown([lambda: handler])  # called as weak references are
    assert len(lines(stream)) == 1


def test_a_log_that_nobody_reads_any_more_fails_no_request() -> None:
    stream = io.StringIO()
    handler = AccessHandler(stream)
    stream.close()
    handler.answered(METHOD, 0.001, REPLIES[0], "order-7")
    handler.flush()
    assert not handler._waiting
