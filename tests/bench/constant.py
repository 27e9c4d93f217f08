"""The floor: a gRPC server whose handlers return the same bytes whatever is asked.

    python -m tests.bench.constant REPLY [--stock | --asyncio]

`REPLY` is a file with the bytes. As it stands the server is the product's own, emptied: calls are gathered
as the product gathers them, and nothing is done for any. `--stock` is what
grpcio gives whoever asks for nothing in particular, `--asyncio` its other kind of server.
"""

import argparse
import asyncio
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from deepmoviematch.server.host.call import Call
from deepmoviematch.server.host.pool import Pool
from deepmoviematch.server.rpc.service import NAME
from tests.bench.servers import listen, say

THREADS = 2
"""As many as `serve` has by default; none of them is needed here."""

METHODS = ("Recommend", "SimilarItems")


class Constant:
    """The product's handler of a cheap method, emptied."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply

    def __call__(self, message: bytes, context: Any) -> bytes:
        """Answer a call by itself, as the first is and all of a stock server."""
        return self._reply

    def is_cheap(self, message: bytes) -> bool:
        """Whether calls may be answered together."""
        return True

    def answer_many(self, calls: Sequence[Call]) -> Sequence[Call]:
        """Answer several, and leave none."""
        for call in calls:
            call.answer(self._reply)
        return ()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reply", type=Path)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--stock", action="store_true")
    kind.add_argument("--asyncio", action="store_true")
    chosen = parser.parse_args()
    reply = chosen.reply.read_bytes()
    if chosen.asyncio:
        asyncio.run(_serve(reply))
        return
    pool = None if chosen.stock else Pool(THREADS)
    executor: Any = pool or ThreadPoolExecutor(8)
    server = grpc.server(executor)
    handler: Any = grpc.unary_unary_rpc_method_handler(Constant(reply))
    server.add_registered_method_handlers(NAME, dict.fromkeys(METHODS, handler))
    listen(server, pool)


async def _serve(reply: bytes) -> None:
    async def answer(_request: bytes, _context: Any) -> bytes:
        return reply

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(answer)
    server.add_registered_method_handlers(NAME, dict.fromkeys(METHODS, handler))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    say(port)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    main()
