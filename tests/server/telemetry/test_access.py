import json
import logging
import threading
from select import PIPE_BUF
from typing import Any

import pytest

from deepmoviematch.server.rpc.replies import Chance, Reply, Trial
from deepmoviematch.server.telemetry import access, logs
from deepmoviematch.server.telemetry.access import AccessHandler

WAIT_S = 10
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


class Reader:
    """Remembers what was written at once; takes nothing while `reads` is not set."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.reads, self.asked = threading.Event(), threading.Event()
        self.reads.set()

    def __call__(self, contents: bytes) -> int:
        self.asked.set()
        self.reads.wait()
        self.taken.append(contents)
        return len(contents)

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in b"".join(self.taken).splitlines()]


@pytest.mark.parametrize("reply", REPLIES, ids=["one", "batch", "exploring", "tried"])
@pytest.mark.parametrize("worker", [None, 2])
def test_a_line_says_what_the_logging_system_would(
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
    worker: int | None,
) -> None:
    caplog.set_level(logging.INFO)
    logs.log_answer(METHOD, "OK", 0.0012344, reply, "order-7")
    [record] = caplog.records
    expected = json.loads(logs.JsonFormatter().format(record)) | (
        {} if worker is None else {"worker": worker}
    )
    capfd.readouterr()
    logs.configure("info", "json", worker=worker)
    logs.log_answer(METHOD, "OK", 0.0012344, reply, "order-7")
    logging.root.handlers[-1].flush()
    line = json.loads(capfd.readouterr().err)
    assert line.keys() == expected.keys()
    assert len(str(line["time"])) == len(expected["time"])
    assert {**line, "time": 0} == {**expected, "time": 0}


@pytest.mark.parametrize(("level", "form"), [("warning", "json"), ("warning", "text")])
def test_there_are_no_such_lines_where_they_are_not_wanted(
    capfd: pytest.CaptureFixture[str], level: str, form: str
) -> None:
    logs.configure(level, form)
    logs.log_answer(METHOD, "OK", 0.001, REPLIES[0], "order-7")
    logging.root.handlers[-1].flush()
    assert capfd.readouterr().err == ""


def test_where_text_is_wanted_such_lines_are_text(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logs.log_answer(METHOD, "OK", 0.001, REPLIES[0], "order-7")
    logging.root.handlers[-1].flush()
    assert "results=10" in capfd.readouterr().err


@pytest.mark.parametrize("form", [logs.JsonFormatter(), logs.TextFormatter()], ids=["json", "text"])
def test_a_reader_who_stalls_stops_nobody_and_hears_how_many_lines_were_lost(
    monkeypatch: pytest.MonkeyPatch, form: logging.Formatter
) -> None:
    monkeypatch.setattr(access, "MOST_WAITING", 3)
    monkeypatch.setattr(access, "END_S", 0.0)
    reader = Reader()
    handler = AccessHandler(reader)
    handler.setFormatter(form)
    reader.reads.clear()
    warning = logging.makeLogRecord({"msg": "first"})
    handler.handle(warning)
    assert reader.asked.wait(WAIT_S)  # it is being written now
    for number in range(5):
        handler.answered(METHOD, number / 1000, REPLIES[0], "order-7")
    handler.handle(warning)
    handler.flush()
    assert reader.taken == []
    monkeypatch.setattr(access, "END_S", WAIT_S)
    reader.reads.set()
    handler.flush()
    _, lost, *others = b"".join(reader.taken).splitlines()
    assert b"log lines lost" in lost
    assert lost.endswith((b'"lines": 3}', b"lines=3"))
    assert [json.loads(line)["ms"] for line in others] == [0, 1, 2]


def test_a_pipe_takes_whole_lines_so_that_those_of_others_come_between_them() -> None:
    reader = Reader()
    handler = AccessHandler(reader)
    for number in range(100):
        handler.answered(METHOD, number / 1000, REPLIES[0], "order-7")
    handler.flush()
    assert [line["ms"] for line in reader.lines] == list(range(100))
    assert all(text.endswith(b"\n") and len(text) <= PIPE_BUF for text in reader.taken)
    assert len(reader.taken) < 10  # and not one by one


def test_a_line_that_no_pipe_takes_whole_is_written_alone() -> None:
    reader = Reader()
    handler = AccessHandler(reader)
    long = Reply(b"", "g000001-0123abcd", 1000, 100, trials=(Trial(0, "wider", "control"),) * 100)
    for reply in (long, REPLIES[0], long):
        handler.answered(METHOD, 0.001, reply, "order-7")
    handler.flush()
    assert [len(text) > PIPE_BUF for text in reader.taken] == [True, False, True]
    assert [line["results"] for line in reader.lines] == [1000, 10, 1000]


def test_a_line_lists_the_first_of_many_chances_and_trials_and_counts_the_others() -> None:
    reader = Reader()
    handler = AccessHandler(reader)
    chances = tuple(Chance(place, 1, [True] * 70, [0.5] * 70) for place in range(250))
    trials = tuple(Trial(place, "wider", "control") for place in range(250))
    handler.answered(METHOD, 0.001, Reply(b"", "g", 17500, 250, chances=chances, trials=trials), "order-7")
    handler.flush()
    [line] = reader.lines
    exploration: Any = line["exploration"]
    assert [(each["request"], len(each["explored"]), len(each["propensities"])) for each in exploration] == [
        (0, 70, 70),
        (1, 30, 30),
    ]
    assert line["exploration_left_out"] == 17400
    assert line["experiments"] == [each._asdict() for each in trials[:100]]
    assert line["experiments_left_out"] == 150


def test_what_waits_is_written_when_the_process_ends() -> None:
    reader = Reader()
    handler = AccessHandler(reader)
    handler.answered(METHOD, 0.001, REPLIES[0], "order-7")
    logging.shutdown([lambda: handler])  # called as weak references are
    assert len(reader.lines) == 1


def test_a_log_that_nobody_reads_any_more_fails_no_request() -> None:
    def fail(_: bytes) -> int:
        raise BrokenPipeError

    handler = AccessHandler(fail)
    handler.answered(METHOD, 0.001, REPLIES[0], "order-7")
    handler.flush()
    assert not handler._waiting
