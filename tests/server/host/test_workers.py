"""Several processes on one port: they start, die, are replaced, and stop."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from deepmoviematch.client import SERVICE_CONFIG
from deepmoviematch.server.errors import ServeError
from deepmoviematch.server.host.address import reserve
from deepmoviematch.v1 import recommender_pb2 as pb, recommender_pb2_grpc as rpc

WAIT_S = 60

HANGS_UP = pytest.param(
    signal.SIGHUP,
    marks=pytest.mark.skipif(
        signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="the children ignore it too"
    ),
)

TELLING = """
import sys
from deepmoviematch.server import __main__

status = __main__.main()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
sys.exit(status)
"""


FAILING = """
import subprocess, sys
from deepmoviematch.server import __main__

class Popen(subprocess.Popen):
    asked = 0

    def __init__(self, *words, **options):
        Popen.asked += 1
        if Popen.asked == 3:
            raise BlockingIOError("no more processes")
        super().__init__(*words, **options)

subprocess.Popen = Popen
sys.exit(__main__.main())
"""
"""Has no more processes once, after two."""


@contextmanager
def supervised(*words: str, program: tuple[str, ...] = ("-m", "deepmoviematch.server")) -> Iterator[Any]:
    """A supervisor of two workers that listen; `events` are the lines of its log, `pids` theirs."""
    command = [sys.executable, *program, "serve", "--workers", "2", "--port", "0", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdout is not None
        lines: SimpleQueue[str] = SimpleQueue()
        # Else a full pipe would stop the workers.
        threading.Thread(target=lambda: deque(map(lines.put, child.stderr or ()), maxlen=0)).start()
        events = map(json.loads, iter(lambda: lines.get(timeout=WAIT_S), None))
        try:
            pids = {
                line["worker"]: line["pid"]
                for line in (wait_for(events, "worker listens"), wait_for(events, "worker listens"))
            }
            port = json.loads(child.stdout.readline())["port"]
            yield SimpleNamespace(child=child, events=events, pids=pids, port=port)
        finally:
            child.terminate()
            child.wait(WAIT_S)


@contextmanager
def asking(port: int, **policy: Any) -> Iterator[Counter[str]]:
    """Callers on four connections, one call after the other; yields how many calls ended how."""
    done, ended, lock = threading.Event(), Counter[str](), threading.Lock()

    def ask(number: int) -> None:
        options = [*policy.items(), ("grpc.use_local_subchannel_pool", 1), ("number", number)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            stub = rpc.RecommenderServiceStub(channel)
            while not done.is_set():
                call = stub.Recommend.future(pb.RecommendRequest(), timeout=WAIT_S)
                code = "OK" if call.exception() is None else call.code().name
                with lock:
                    ended[code] += 1
                if code != "OK":
                    time.sleep(0.01)

    callers = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    try:
        yield ended
    finally:
        done.set()
        for caller in callers:
            caller.join()


def listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def wait_for(events: Iterator[dict[str, Any]], event: str) -> dict[str, Any]:
    return next(line for line in events if line["event"] == event)


def wait_for_more(ended: Counter[str], count: int = 50) -> None:
    wanted = ended.total() + count
    while ended.total() < wanted:
        time.sleep(0.001)


def test_a_killed_worker_is_replaced_and_callers_that_retry_notice_nothing(store: Path) -> None:
    with supervised("--store", str(store)) as server:
        policy = {"grpc.service_config": SERVICE_CONFIG}
        with asking(server.port, **policy) as ended:
            for number, pid in server.pids.items():
                wait_for_more(ended)
                os.kill(pid, signal.SIGKILL)
                died = wait_for(server.events, "worker ended")
                assert (died["worker"], died["pid"], died["status"]) == (number, pid, -signal.SIGKILL)
                back = wait_for(server.events, "worker listens")
                assert back["worker"] == number
                assert back["pid"] != pid
            wait_for_more(ended)
    assert set(ended) == {"OK"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, HANGS_UP])
def test_whoever_is_told_of_the_end_is_told_unavailable(store: Path, number: int) -> None:
    with supervised("--store", str(store)) as server:
        with asking(server.port) as ended:
            wait_for_more(ended)
            server.child.send_signal(number)
            assert server.child.wait(WAIT_S) == 0
        assert set(ended) <= {"OK", "UNAVAILABLE"}


def test_the_port_file_ends_with_the_workers(store: Path, tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    with supervised("--store", str(store), "--port-file", str(port_file)) as server:
        assert port_file.read_text() == f"{server.port}\n"
    assert not port_file.exists()


def test_the_supervisor_loads_nothing_of_what_answers_calls(store: Path) -> None:
    with supervised("--store", str(store), program=("-c", TELLING)) as server:
        server.child.terminate()
        loaded = set(server.child.stdout.read().split())
    assert "deepmoviematch" in loaded
    assert not loaded & {"grpc", "google", "numpy", "faiss"}


def test_workers_end_with_their_supervisor(store: Path) -> None:
    with supervised("--store", str(store)) as server:
        server.child.kill()
        while listens(server.port):
            time.sleep(0.01)


def test_every_worker_follows_the_store(tmp_path: Path, publish: Callable[..., Any]) -> None:
    publish(tmp_path, seed=1)
    with supervised("--store", str(tmp_path)) as server:
        published = publish(tmp_path, seed=2).id
        loaded = (line for line in server.events if line.get("generation") == published)
        assert {wait_for(loaded, "generation")["worker"] for _ in server.pids} == {0, 1}
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            response = rpc.RecommenderServiceStub(channel).Recommend(pb.RecommendRequest())
        assert response.metadata.generation_id == published


def test_a_walk_goes_on_with_any_worker_its_replacement_and_whatever_is_published(
    tmp_path: Path, publish: Callable[..., Any]
) -> None:
    first = publish(tmp_path, seed=1).id
    request = pb.RecommendRequest(page_size=9)
    options = [("grpc.use_local_subchannel_pool", 1)]
    seen: list[str] = []
    with supervised("--store", str(tmp_path)) as server:
        while True:
            with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
                stub = rpc.RecommenderServiceStub(channel)
                response = stub.Recommend(request, wait_for_ready=True, timeout=WAIT_S)
            seen += [item.item_id for item in response.results]
            assert response.metadata.generation_id == first
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
            publish(tmp_path, seed=len(seen))
            os.kill(server.pids[0], signal.SIGKILL)  # so that whoever answers next is another process
            wait_for(server.events, "worker ended")
            server.pids[0] = wait_for(server.events, "worker listens")["pid"]
            server.pids = {0: server.pids[1], 1: server.pids[0]}
    assert len(seen) == len(set(seen)) == 25


def test_a_worker_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    words = ["serve", "--workers", "2", "--port", "0", "--store", str(tmp_path)]
    (tmp_path / "generations").mkdir()
    broken = {**os.environ, "GRPC_VERBOSITY": "NONE", "PYTHONPATH": str(tmp_path)}
    (tmp_path / "grpc.py").write_text("raise SystemExit('grpc is broken')")
    ended = subprocess.run(
        [sys.executable, "-m", "deepmoviematch.server", *words],
        capture_output=True,
        check=False,
        env=broken,
        text=True,
        timeout=WAIT_S,
    )
    assert ended.returncode == 1
    assert "grpc is broken" in ended.stderr
    assert "error: every worker must start, got one that ended with 1; its reason is above" in ended.stderr


def test_a_worker_that_cannot_be_replaced_at_once_costs_the_others_nothing(store: Path) -> None:
    with supervised("--store", str(store), program=("-c", FAILING)) as server:
        os.kill(server.pids[0], signal.SIGKILL)
        assert "no more processes" in wait_for(server.events, "worker not started")["error"]
        assert wait_for(server.events, "worker listens")["worker"] == 0
        os.kill(server.pids[1], 0)  # it is there still
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            rpc.RecommenderServiceStub(channel).Recommend(pb.RecommendRequest(), timeout=WAIT_S)


def test_an_address_in_use_is_not_shared(running: SimpleNamespace) -> None:
    with pytest.raises(
        ServeError, match=f"must be free and of this machine, got 127.0.0.1:{running.wiring.port}"
    ):
        reserve("127.0.0.1", running.wiring.port).__enter__()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ServeError, match=r"of this machine, got 192\.0\.2\.1:0"):
        reserve("192.0.2.1", 0).__enter__()


@pytest.mark.parametrize("host", ["a" * 70, "a..b", "", "[::1]", "unix:/tmp/x.sock"])
def test_what_can_be_no_name_is_refused_as_a_host(host: str) -> None:
    with pytest.raises(ServeError, match=f"^--host must be an address .* got '{re.escape(host)}': "):
        reserve(host, 0).__enter__()


def test_a_port_that_is_reserved_goes_to_those_who_share_it() -> None:
    with reserve("127.0.0.1", 0) as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("127.0.0.1", port))
            worker.listen()
            socket.create_connection(("127.0.0.1", port)).close()
