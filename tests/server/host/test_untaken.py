"""What becomes of replies that their callers do not take, over a real socket."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from deepmoviematch.server.host import untaken
from deepmoviematch.server.host.call import Call
from deepmoviematch.server.host.pool import Pool
from tests.server.host.http2 import DATA, HEADERS, RESET, WAIT_S, Caller


def eventually(holds: Callable[[], object]) -> None:
    """Wait until it does."""
    until = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.001)


class Filling:
    """Answers with as many bytes as are asked for."""

    def __init__(self, *, cheap: bool) -> None:
        self.cheap = cheap

    def is_cheap(self, message: bytes) -> bool:
        return self.cheap

    def __call__(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        return bytes(int(message))

    def answer_many(self, calls: list[Call]) -> list[Call]:
        for call in calls:
            call.answer(bytes(int(call.message)))
        return []


@pytest.fixture(params=[True, False], ids=["by the polling thread", "by a thread"])
def filling(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """A server, and a caller who takes nothing of what it asks for."""
    pool: Any = Pool(1)
    server = grpc.server(pool)
    handler: Any = grpc.unary_unary_rpc_method_handler(Filling(cheap=request.param))
    server.add_registered_method_handlers("test.Fill", {"Fill": handler})
    port = server.add_insecure_port("127.0.0.1:0")
    pool.start(server)
    with Caller(f"127.0.0.1:{port}") as caller:
        yield SimpleNamespace(caller=caller, pool=pool, ask=lambda size: caller.ask("/test.Fill/Fill", size))
    eventually(lambda: not pool.untaken)
    assert pool.untaken._bytes == 0
    assert server.stop(None).wait(WAIT_S)
    pool.shutdown()


def test_of_replies_that_nobody_takes_the_oldest_make_room(
    filling: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(untaken, "MOST_BYTES", 10_000)
    oldest, *_ = [filling.ask(size) for size in (b"4400", b"4200", b"4200")]
    heard = filling.caller.hear()
    while heard.kind != RESET:
        heard = filling.caller.hear()
    assert heard.stream == oldest
    assert len(filling.pool.untaken) == 2
    assert filling.pool.refusals.counts["OVERLOADED"] == 1


def test_a_reply_that_is_taken_makes_room(filling: SimpleNamespace) -> None:
    stream = filling.ask(b"70000")
    eventually(lambda: len(filling.pool.untaken) == 1)
    filling.caller.take(stream)
    heard = [filling.caller.hear()]
    while not heard[-1].ends:
        heard.append(filling.caller.hear())
    assert sum(len(each.contents) for each in heard if each.kind == DATA) == 5 + 70000
    assert heard[-1].kind == HEADERS
    eventually(lambda: not filling.pool.untaken)


def test_a_reply_too_large_for_all_is_held_alone(
    filling: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(untaken, "MOST_BYTES", 4500)
    filling.ask(b"5000")
    filling.ask(b"6000")
    eventually(lambda: filling.pool.refusals.counts["OVERLOADED"] == 1)
    [held] = filling.pool.untaken._sizes
    assert held.message is None  # which might be the larger one
