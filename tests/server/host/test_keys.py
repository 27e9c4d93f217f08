"""Who may call, and how often."""

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from deepmoviematch.client import CallError, Client, pb
from deepmoviematch.server.__main__ import main
from deepmoviematch.server.errors import RateError, ServeError, UnknownCallerError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.host.keys import TRIED, Keys, add
from deepmoviematch.server.ranking.recommender import Recommender


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def test_a_key_is_kept_as_its_hash_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "shop", "--api-keys", str(file), "--calls-per-s", "50"]) == 0
    key = capsys.readouterr().out.strip()
    assert key not in file.read_text()
    assert hashlib.sha256(key.encode()).hexdigest() in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    Keys(file).check([("x-api-key", key)])


@pytest.mark.parametrize(
    "header", [("x-api-key", "{}"), ("authorization", "Bearer {}"), ("authorization", "bearer {}")]
)
def test_a_key_comes_in_either_header(file: Path, header: tuple[str, str]) -> None:
    key = add(file, "shop", None)
    Keys(file).check([("user-agent", "x"), (header[0], header[1].format(key))])


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Bearer jwt"), ("x-api-key", "{}")],
        [("x-api-key", ""), ("authorization", "Bearer {}")],
        [("authorization", "Bearer {}"), ("x-api-key", "other")],
        [("x-api-key", "other")] * (TRIED - 1) + [("x-api-key", "{}")],
    ],
)
def test_a_key_counts_wherever_it_stands(file: Path, metadata: list[tuple[str, str]]) -> None:
    key = add(file, "shop", None)
    Keys(file).check([(name, value.format(key)) for name, value in metadata])


def test_no_more_than_a_few_keys_of_a_call_are_tried(file: Path) -> None:
    key = add(file, "shop", None)
    with pytest.raises(UnknownCallerError):
        Keys(file).check([("x-api-key", "other")] * TRIED + [("x-api-key", key)])


@pytest.mark.parametrize(
    "metadata", [[], [("x-api-key", "")], [("x-api-key", "other")], [("authorization", "Basic {}")]]
)
def test_without_a_known_key_a_call_is_refused(file: Path, metadata: list[tuple[str, str]]) -> None:
    key = add(file, "shop", None)
    with pytest.raises(UnknownCallerError):
        Keys(file).check([(name, value.format(key)) for name, value in metadata])


def test_each_key_has_its_own_calls(file: Path) -> None:
    one, other = add(file, "one", 2.0), add(file, "other", None)
    now = [0.0]
    keys = Keys(file, clock=lambda: now[0])
    for _ in range(2):
        keys.check([("x-api-key", one)])
    with pytest.raises(RateError):
        keys.check([("x-api-key", one)])
    keys.check([("x-api-key", other)])
    now[0] = 0.5  # half a second: one more
    keys.check([("x-api-key", one)])
    with pytest.raises(RateError):
        keys.check([("x-api-key", one)])
    now[0] = 100.0  # no more than a second's calls are saved up
    for _ in range(2):
        keys.check([("x-api-key", one)])
    with pytest.raises(RateError):
        keys.check([("x-api-key", one)])


def test_workers_share_the_calls_of_a_key(file: Path) -> None:
    key = add(file, "one", 4.0)
    now = [0.0]
    keys = Keys(file, workers=2, clock=lambda: now[0])
    for _ in range(4):
        keys.check([("x-api-key", key)])
    now[0] = 1.0  # of a worker's share of two
    for _ in range(2):
        keys.check([("x-api-key", key)])
    message = r"may make 4 calls a second \(2 at each of 2 workers\), got more"
    with pytest.raises(RateError, match=message):
        keys.check([("x-api-key", key)])


@pytest.mark.parametrize(("workers", "wait_s"), [(1, 20.0), (2, 40.0)])
def test_whoever_has_no_calls_left_is_told_when_there_is_one(file: Path, workers: int, wait_s: float) -> None:
    key = add(file, "slow", 0.05)
    now = [0.0]
    keys = Keys(file, workers=workers, clock=lambda: now[0])
    keys.check([("x-api-key", key)])
    for waited_s in (0.0, 12.5):
        now[0] = waited_s
        with pytest.raises(RateError) as caught:
            keys.check([("x-api-key", key)])
        assert caught.value.wait_s == pytest.approx(wait_s - waited_s)
    now[0] = wait_s + 0.001
    keys.check([("x-api-key", key)])


def test_a_query_of_two_calls_passes_whichever_worker_it_meets(file: Path) -> None:
    key = add(file, "one", 2.0)
    keys = Keys(file, workers=2, clock=lambda: 0.0)
    for _ in range(2):
        keys.check([("x-api-key", key)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not toml", "must be a file of API keys"),
        (f'a = "{"0" * 64}"\n', r"a must be a table, got 64 characters; write \[a\] and its sha256 below"),
        (
            "[a]\ncalls_per_s = 5\n",
            "sha256 of a must be 64 .*, got none; make another key: key NAME --api-keys /",
        ),
        ("[a]\nsha256 = 5\n", "sha256 of a must be 64 .*, got int; make"),
        ('[a]\nsha256 = "5ec2e7"\n', "sha256 of a must be 64 hexadecimal digits, got 6 characters; make"),
        (f'[a]\nsha256 = "{"5ec2e7-" * 9}0"\n', "sha256 of a must be 64 .*, got 64 characters; make"),
        (
            f'[a]\nsha256 = "{"0" * 64}"\ncalls_per_second = 5\n',
            "a may have the settings sha256 and calls_per_s, got calls_per_second; remove it",
        ),
        (
            f'[a]\nsha256 = "{"0" * 64}"\ncalls_per_s = 0\n',
            "of a must be a number above 0 that a float holds, got 0; leave it out",
        ),
        (
            f'[a]\nsha256 = "{"0" * 64}"\ncalls_per_s = true\n',
            "of a must be a number above 0 that a float holds, got bool; leave",
        ),
        (f'[a]\nsha256 = "{"0" * 64}"\ncalls_per_s = "5ec2e7"\n', "a float holds, got 6 characters; leave"),
        (
            f'[a]\nsha256 = "{"0" * 64}"\ncalls_per_s = 1{"0" * 400}\n',
            "a float holds, got 1000+\\.\\.\\.0+; leave",
        ),
        (
            f'[a]\nsha256 = "{"0" * 64}"\n[b]\nsha256 = "{"0" * 64}"\n',
            "each sha256 must be there once, got that of a at b too; remove one",
        ),
        ("", "must have an API key, or nobody can call, got none; make one: key NAME --api-keys /"),
        ("# none yet\n", "must have an API key"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ServeError, match=message) as caught:
        Keys(file)
    assert "5ec2e7" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused_with_the_command_that_makes_it(file: Path) -> None:
    with pytest.raises(ServeError, match=f"No such file .*; make one: key NAME --api-keys {file}$"):
        Keys(file)


def test_a_hash_may_be_spelt_in_capitals(file: Path) -> None:
    key = add(file, "shop", None)
    file.write_text(file.read_text().replace("sha256", "SHA").upper().replace("SHA", "sha256"))
    Keys(file).check([("x-api-key", key)])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("one", "a new name, got 'one', which is in .*keys.toml; choose another"),
        ("", "a name of letters, digits, - and _, got ''"),
        ("a b", "a name of letters, digits, - and _, got 'a b'"),
        ("../x", "a name of letters, digits, - and _, got"),
        ("a" * 61, 'a name of at most 60 characters, got 61: "aaa'),
    ],
)
def test_a_name_is_new_plain_and_short(file: Path, name: str, message: str) -> None:
    add(file, "one", None)
    add(file, "a" * 60, None)
    with pytest.raises(ServeError, match=f"^a key must have {message}"):
        add(file, name, None)


def test_the_first_key_joins_a_file_without_any(file: Path) -> None:
    file.write_text("# none yet\n")
    key = add(file, "shop", None)
    Keys(file).check([("x-api-key", key)])


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none" / "keys.toml"
    assert main(["key", "shop", "--api-keys", str(path)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: --api-keys must be a file that can be written to, in a folder that ")
    assert str(path) in told.err
    assert told.err.endswith("; make its folder or name another\n")


def test_a_full_disk_leaves_the_file_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = add(file, "first", None)

    def full(descriptor: int, contents: memoryview) -> int:
        monkeypatch.undo()
        os.write(descriptor, contents[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ServeError, match=r"must be a file that can be written to, .* No space left"):
        add(file, "second", None)
    Keys(file).check([("x-api-key", key)])
    add(file, "second", None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a full device")
def test_a_key_that_nobody_could_see_takes_no_name(file: Path) -> None:
    command = [sys.executable, "-m", "deepmoviematch.server", "key", "shop", "--api-keys", str(file)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: [Errno 28] No space left")
    assert not file.exists()
    assert main(["key", "shop", "--api-keys", str(file)]) == 0


def test_a_key_joins_a_file_whose_last_line_has_no_end(file: Path) -> None:
    first = add(file, "first", 5.0)
    file.write_text(file.read_text().rstrip("\n"))
    second = add(file, "second", None)
    keys = Keys(file)
    for key in (first, second):
        keys.check([("x-api-key", key)])


@pytest.mark.parametrize("contents", [b"calls_per_s = 5[b]", b"\xff"])
def test_no_key_joins_a_broken_file(file: Path, capsys: pytest.CaptureFixture[str], contents: bytes) -> None:
    file.write_bytes(contents)
    assert main(["key", "shop", "--api-keys", str(file)]) == 1
    assert f"error: {file} must be a file of API keys" in capsys.readouterr().err
    assert file.read_bytes() == contents


def test_a_key_leaves_the_file_to_whoever_could_read_it(file: Path, tmp_path: Path) -> None:
    add(file, "first", None)
    file.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    add(link, "second", None)
    assert (link.is_symlink(), file.stat().st_mode & 0o777) == (True, 0o640)


def test_of_many_who_make_keys_at_once_each_makes_its_own(file: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from deepmoviematch.server.errors import ServeError;"
        "from deepmoviematch.server.host.keys import add\n"
        "print('ready', flush=True); input()\n"
        "for number in range(30):\n"
        "    try: print(add(Path(sys.argv[1]), f'k{number}', None))\n"
        "    except ServeError as error: assert 'must have a new name' in str(error), error\n"
    )
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", script, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for maker in makers:
        assert maker.stdout
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        assert maker.stdin
        maker.stdin.write("\n")
        maker.stdin.flush()
    made = [key for maker in makers for key in maker.communicate()[0].split()]
    assert [maker.returncode for maker in makers] == [0, 0, 0]
    assert len(made) == 30
    keys = Keys(file)
    for key in made:
        keys.check([("x-api-key", key)])


def test_a_server_with_keys_lets_in_who_has_one(
    serve: Callable[..., Any], recommender: Recommender, file: Path, outcome: Callable[..., SimpleNamespace]
) -> None:
    key, slow = add(file, "shop", None), add(file, "slow", 0.001)
    current = Current()
    current.set(recommender)
    with serve(current, keys=Keys(file)) as running:
        running.wiring.health.serve()
        ended = outcome(running.stub.Recommend, pb.RecommendRequest())
        assert ended.code == "UNAUTHENTICATED"
        with Client(running.address, api_key=key) as client:
            assert client.recommend(pb.RecommendRequest()).results
        with Client(running.address, api_key=slow) as client:
            assert client.recommend(pb.RecommendRequest()).results
            with pytest.raises(CallError) as caught:
                client.recommend(pb.RecommendRequest())
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.reason == "RATE_LIMITED"
    assert caught.value.retry_after_s is not None
    assert 900 < caught.value.retry_after_s <= 1000
    assert "may make 0.001 calls a second, got more" in caught.value.message
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in ended.status.details)
    assert info.reason == "API_KEY_INVALID"
