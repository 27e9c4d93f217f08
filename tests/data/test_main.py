import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepmoviematch.data import __main__
from deepmoviematch.data.__main__ import main

Writer = Callable[..., Path]


def test_describe_prints_tables(canonical: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "--data", str(canonical())]) == 0
    out, err = capsys.readouterr()
    assert "4 (3 rated)" in out
    assert err == ""


def test_describe_prints_json(canonical: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "--data", str(canonical()), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["users"] == 2


def test_bad_data_is_one_line_on_stderr(canonical: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    folder = canonical(ratings="userId,movieId,rating\n1,1,x\n")
    assert main(["describe", "--data", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    rule = "ratings.csv:2: a rating must be a finite number, got 'x'"
    assert err == f"error: {rule}; --lenient drops and counts such rows\n"


def test_leniency_is_printed(canonical: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    folder = canonical(ratings="userId,movieId,rating\n1,1,x\n1,1,4\n")
    assert main(["describe", "--data", str(folder), "--lenient"]) == 0
    assert "ratings.csv: 1 row dropped: a rating must be a finite number" in capsys.readouterr().out


def test_fetch_says_that_it_has_nothing_to_do(canonical: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    folder = canonical()
    (folder / "source.json").write_text('{"dataset": "ml-100k"}')
    assert main(["fetch", "--out", str(folder)]) == 0
    assert "already" in capsys.readouterr().err


def test_ctrl_c_ends_it_without_a_traceback(
    canonical: Writer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "read", interrupted)
    assert main(["describe", "--data", str(canonical())]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_left_ends_it_without_a_traceback(canonical: Writer, more: list[str]) -> None:
    command = [sys.executable, "-m", "deepmoviematch.data", "describe", "--data", str(canonical()), *more]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as gone:
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fetch"],
        ["describe"],
        ["fetch", "--out", "x", "--dataset", "ml-2m"],
        ["describe", "--data", "x", "more"],
    ],
)
def test_misuse_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["fetch", "describe"]),
        (["fetch", "--help"], ["--dataset", "ml-32m", "--out", "default ml-100k"]),
        (["describe", "--help"], ["--data", "--json", "--lenient"]),
    ],
)
def test_help_is_complete(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    out = " ".join(capsys.readouterr().out.split())  # however wide the terminal
    assert all(word in out for word in words)
