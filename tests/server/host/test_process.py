"""The server as a process: health, reflection, start, end, and what it loads."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from deepmoviematch.server.__main__ import main
from deepmoviematch.server.errors import ServeError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.host import process as process_module
from deepmoviematch.server.host.options import ServeOptions, stops
from deepmoviematch.server.host.process import create_server, serve as serve_process
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.v1 import recommender_pb2 as pb, recommender_pb2_grpc as rpc
from tests.server.host.http2 import DATA, HEADERS, Caller, Frame

SERVICE = "deepmoviematch.v1.RecommenderService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
WAIT_S = 30

unless_ignored = pytest.mark.skipif(
    signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="the children ignore it too"
)

PLAIN = """
import sys
from deepmoviematch.server import __main__

sys.exit(__main__.main())
"""

SLOW = """
import sys
from deepmoviematch.server import __main__
from deepmoviematch.server.ranking import recommender

original = recommender.Recommender.recommend_batch

def slow(self, *question):
    print("begun", flush=True)
    sys.stdin.readline()
    return original(self, *question)

recommender.Recommender.recommend_batch = slow
sys.exit(__main__.main())
"""

FAILING = """
import sys
from deepmoviematch.server import __main__
from deepmoviematch.server.host.pool import Pool

def receive(self, call):
    raise MemoryError

Pool.receive = receive
sys.exit(__main__.main())
"""

STALLED = """
import sys
from deepmoviematch.server import __main__
from deepmoviematch.server.telemetry import access

access.MOST_WAITING = 20
sys.exit(__main__.main())
"""

LOADING = """
import os
import sys
import time
from deepmoviematch.server import __main__
from deepmoviematch.server.commands import serve

def begin():
    os.environ["OPENBLAS_NUM_THREADS"] = "2"
    from deepmoviematch.server.generations.follower import Follower
    original = Follower.poll

    def slow(self):
        Follower.poll = original
        print("loading", flush=True)
        time.sleep(0.3)
        original(self)

    Follower.poll = slow

serve.keep_to_one_thread = begin
sys.exit(__main__.main())
"""
"""Loads slowly, and libraries with threads of their own."""

TELLING = """
import os
import sys
from deepmoviematch.server import __main__

leave = os._exit

def tell(status):
    print(*sorted({name.partition(".")[0] for name in sys.modules}), flush=True)
    leave(status)

os._exit = tell
sys.exit(__main__.main())
"""


def health_of(channel: grpc.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


@contextmanager
def process(script: str, *words: str) -> Iterator[SimpleNamespace]:
    """A process that runs `script` with `serve --port 0` and `words`, listening."""
    command = [sys.executable, "-c", script, "serve", "--port", "0", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            first = json.loads(child.stdout.readline())
            with grpc.insecure_channel(f"127.0.0.1:{first['port']}") as channel:
                stub = rpc.RecommenderServiceStub(channel)
                yield SimpleNamespace(child=child, first=first, channel=channel, stub=stub)
        finally:
            child.kill()


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_follows_the_first_generation(serve: Callable[..., Any], service: str) -> None:
    with serve(Current()) as running:
        request = health_pb2.HealthCheckRequest(service=service)
        watch = health_of(running.channel).Watch(request)
        assert next(watch).status == NOT_SERVING
        running.wiring.health.serve()
        assert next(watch).status == SERVING
        assert health_of(running.channel).Check(request).status == SERVING
        watch.cancel()


def test_health_knows_no_other_service(running: SimpleNamespace) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health_of(running.channel).Check(health_pb2.HealthCheckRequest(service="other"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services(running: SimpleNamespace) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    [response] = stub.ServerReflectionInfo(iter([request]))
    listed = {service.name for service in response.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= listed


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"must be free and of this machine, got 127.0.0.1:{port}"):
            create_server(Current(), ServeOptions(store=Path(), port=port))


def test_a_second_server_on_the_port_is_refused(running: SimpleNamespace) -> None:
    with pytest.raises(ServeError, match="must be free"):
        create_server(Current(), ServeOptions(store=Path(), port=running.wiring.port))


def test_a_server_that_cannot_have_its_address_leaves_the_file_of_its_holder_alone(
    running: SimpleNamespace, store: Path, tmp_path: Path
) -> None:
    port_file = tmp_path / "port"
    port_file.write_text(f"{running.wiring.port}\n")
    words = ["--store", str(store), "--port", str(running.wiring.port), "--port-file", str(port_file)]
    command = [sys.executable, "-m", "deepmoviematch.server", "serve", *words]
    done = subprocess.run(command, capture_output=True, check=False, timeout=WAIT_S)
    assert done.returncode == 1
    assert port_file.read_text() == f"{running.wiring.port}\n"


def test_serve_refuses_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="the store must be a folder, got "):
        serve_process(ServeOptions(store=tmp_path / "none", port=0))


def test_serve_refuses_a_folder_of_other_things(tmp_path: Path) -> None:
    for name in (".lock", "lost+found"):  # what an empty disk or a store without a generation may hold
        (tmp_path / name).mkdir()
    ServeOptions(store=tmp_path).check_paths()
    (tmp_path / "ratings.csv").touch()
    message = "the store must be empty or hold CURRENT and generations, got ratings.csv in .*; name a folder"
    with pytest.raises(ServeError, match=message):
        serve_process(ServeOptions(store=tmp_path, port=0))
    (tmp_path / "generations").mkdir()
    ServeOptions(store=tmp_path).check_paths()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["none/port", "file/port", ".", "full"])
def test_a_port_file_that_cannot_be_written_is_one_line_and_nothing_is_announced(
    tmp_path: Path, name: str, workers: int
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full.partial").mkdir()  # found out when all is ready, as a disk without room is
    (tmp_path / "generations").mkdir()
    words = ["--store", str(tmp_path), "--port", "0", "--workers", str(workers)]
    command = [sys.executable, "-m", "deepmoviematch.server", "serve", *words]
    command += ["--port-file", str(tmp_path / name), "--log-level", "error"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: --port-file must be ")
    assert done.stderr.endswith("name another file\n")
    assert str(tmp_path / name) in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_file_of_old_is_gone_before_the_server_listens(tmp_path: Path, workers: int) -> None:
    port_file = tmp_path / "port"
    port_file.write_text("1\n")
    (tmp_path / "port.partial").mkdir()  # so that the new port is never written
    (tmp_path / "generations").mkdir()
    words = ["--store", str(tmp_path), "--port", "0", "--workers", str(workers)]
    command = [sys.executable, "-m", "deepmoviematch.server", "serve", *words, "--port-file", str(port_file)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=WAIT_S)
    assert done.returncode == 1
    assert not port_file.exists()


@pytest.mark.parametrize(
    "words",
    [["--port", "65536"], ["--workers", "0"], ["--port", "-1"], ["--threads", "0"], ["--grace-s", "nan"]],
)
def test_serve_refuses_settings_out_of_range(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--store", str(tmp_path), *words])
    assert caught.value.code == 2
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize(("port", "workers"), [(0, 1), (0, 2), (65_535, 2), (65_536, 1)])
def test_every_worker_needs_a_port_for_metrics(tmp_path: Path, port: int, workers: int) -> None:
    with pytest.raises(ServeError, match=f"--metrics-port must be 1 to {65_536 - workers}, .*, got {port};"):
        ServeOptions(store=tmp_path, metrics_port=port, workers=workers)
    assert ServeOptions(store=tmp_path, metrics_port=65_534, workers=2).metrics_port == 65_534


@pytest.mark.parametrize("connection_s", [2_147_484, 1e12, -1, 0, 0.5])
def test_a_connection_lasts_long_enough_for_a_call_and_no_longer_than_grpc_can_count(
    tmp_path: Path, connection_s: float
) -> None:
    with pytest.raises(
        ServeError, match=r"--connection-s must be 1 to 2147483 \(24 days\), got .*; name a time"
    ):
        ServeOptions(store=tmp_path, connection_s=connection_s)
    create_server(Current(), ServeOptions(store=tmp_path, port=0, connection_s=2_147_483)).stop()


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_log_whose_reader_stalls_stops_neither_answers_nor_the_end(store: Path, form: str) -> None:
    with process(STALLED, "--store", str(store), "--log-format", form) as server:
        failing = pb.RecommendRequest(page_size=-1)  # which is logged in another way than an answer
        for _ in range(6):
            asked = [server.stub.Recommend.future(pb.RecommendRequest(), timeout=WAIT_S) for _ in range(100)]
            asked += [server.stub.Recommend.future(failing, timeout=WAIT_S)]
            assert [call.code().name for call in asked] == ["OK"] * 100 + ["INVALID_ARGUMENT"]
        check = health_of(server.channel).Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S)
        assert check.status == SERVING
        server.child.terminate()
        assert server.child.wait(WAIT_S) == 0


@pytest.mark.parametrize("form", ["json", "text"])
def test_sigterm_while_the_first_generation_is_loaded_is_heeded_after_that(store: Path, form: str) -> None:
    command = [sys.executable, "-c", LOADING, "serve", "--port", "0", "--store", str(store)]
    with subprocess.Popen([*command, "--log-format", form], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "loading\n"
        child.terminate()
        assert json.loads(child.stdout.readline())["event"] == "listening"
        assert child.wait(WAIT_S) == 0


def test_a_bug_on_the_thread_that_takes_calls_ends_the_process_with_its_traceback(store: Path) -> None:
    with process(FAILING, "--store", str(store)) as server:
        with pytest.raises(grpc.RpcError) as caught:
            server.stub.Recommend(pb.RecommendRequest(), timeout=WAIT_S)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.child.wait(WAIT_S) == os.EX_SOFTWARE
        last = json.loads(server.child.stderr.read().splitlines()[-1])
    assert last["level"] == "critical"
    assert "MemoryError" in last["traceback"]


def test_sigterm_ends_health_first_and_lets_a_call_in_flight_finish(store: Path) -> None:
    with process(SLOW, "--store", str(store)) as server:
        watch = health_of(server.channel).Watch(health_pb2.HealthCheckRequest(), timeout=WAIT_S)
        while next(watch).status != SERVING:
            pass
        call = server.stub.Recommend.future(pb.RecommendRequest(), timeout=WAIT_S)
        assert server.child.stdout.readline() == "begun\n"
        server.child.send_signal(signal.SIGTERM)
        assert [change.status for change in watch] == [NOT_SERVING]  # and the watch itself has ended
        assert not call.done()
        server.child.stdin.write("go on\n")
        server.child.stdin.flush()
        assert len(call.result().results) == 10
        assert server.child.wait(WAIT_S) == 0


def test_the_end_waits_for_a_reply_that_is_still_travelling(
    serve: Callable[..., Any], recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    current, steps, heard = Current(), list[float](), list[Frame]()
    current.set(recommender)
    batch = pb.BatchRecommendRequest(requests=[pb.RecommendRequest()] * 256).SerializeToString()
    with serve(current) as server, Caller(server.address) as caller:
        stream = caller.ask(f"/{SERVICE}/BatchRecommend", batch)
        while not (server.wiring.pool.untaken and server.wiring.pool.idle()):
            time.sleep(0.001)

        def sleep(seconds: float) -> None:
            steps.append(seconds)
            if steps.count(process_module._STEP_S) == 3:
                caller.take(stream)
                while not (heard and heard[-1].ends):
                    heard.append(caller.hear())
            time.sleep(min(seconds, 0.001))

        monkeypatch.setattr(process_module, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
        server.wiring.drain(WAIT_S)
    assert [each.kind for each in heard if each.kind != DATA][-1] == HEADERS
    assert sum(len(each.contents) for each in heard) > 1 << 16


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux can be told")
def test_no_thread_of_a_server_interrupts_another_as_it_wakes_up(store: Path) -> None:
    with process(PLAIN, "--store", str(store)) as server:
        server.stub.Recommend(pb.RecommendRequest(), timeout=WAIT_S)
        threads = [int(each.name) for each in Path(f"/proc/{server.child.pid}/task").iterdir()]
        assert len(threads) > 2
        assert {os.sched_getscheduler(each) for each in threads} == {os.SCHED_BATCH}


def test_the_end_of_the_terminal_is_heeded_unless_it_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    dispositions = iter([signal.SIG_DFL, signal.SIG_IGN])
    monkeypatch.setattr(signal, "getsignal", lambda number: next(dispositions))
    assert stops() == {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    assert stops() == {signal.SIGTERM, signal.SIGINT}


@pytest.mark.parametrize(
    ("number", "asked"),
    [
        (signal.SIGTERM, ""),
        (signal.SIGINT, "year > 1990"),
        pytest.param(signal.SIGHUP, "", marks=unless_ignored),
    ],
)
def test_serving_loads_nothing_that_it_does_not_need(
    store: Path, tmp_path: Path, number: int, asked: str
) -> None:
    port_file = tmp_path / "port"
    with process(TELLING, "--store", str(store), "--port-file", str(port_file)) as server:
        titles = server.stub.FindItems(pb.FindItemsRequest(title="heat"), wait_for_ready=True)
        request = pb.SimilarItemsRequest(item_id=titles.results[0].item_id)
        assert server.stub.SimilarItems(request).results
        assert server.stub.Recommend(pb.RecommendRequest(filter=asked)).results
        assert port_file.read_text() == f"{server.first['port']}\n"
        server.child.send_signal(number)
        loaded = set(server.child.stdout.read().split())
        assert server.child.wait(WAIT_S) == 0
        assert not port_file.exists()
        errors = server.child.stderr.read()
    assert "deepmoviematch" in loaded
    assert not loaded & {"tensorflow", "keras", "pandas", "sklearn", "scipy", "pyarrow", "matplotlib", "rich"}
    assert ("lark" in loaded) == bool(asked)
    assert all(json.loads(line)["level"] == "info" for line in errors.splitlines())


def test_a_server_without_standard_output_ends_as_others_do(store: Path, tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    words = ["serve", "--port", "0", "--store", str(store), "--port-file", str(port_file)]
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "deepmoviematch.server", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        until = time.monotonic() + WAIT_S
        while not port_file.exists():
            assert time.monotonic() < until
            time.sleep(0.001)
        child.terminate()
        assert child.wait(WAIT_S) == 0
        assert child.stderr is not None
        assert "Traceback" not in child.stderr.read()


def test_serve_begins_before_the_first_generation(tmp_path: Path, publish: Callable[..., Any]) -> None:
    with process(TELLING, "--store", str(tmp_path)) as server:
        watch = health_of(server.channel).Watch(
            health_pb2.HealthCheckRequest(service=SERVICE), timeout=WAIT_S
        )
        assert next(watch).status == NOT_SERVING
        generation = publish(tmp_path)
        assert next(watch).status == SERVING
        response = server.stub.Recommend(pb.RecommendRequest())
        assert response.metadata.generation_id == generation.id
        server.child.terminate()
        lines = [json.loads(line) for line in server.child.stderr]
    warned = [line["store"] for line in lines if line["event"] == "no generation yet"]
    assert warned == [str(tmp_path)]
