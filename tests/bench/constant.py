"""The floor: a gRPC server whose handlers return the same bytes whatever is asked.

    python -m tests.bench.constant REPLY [--stock | --asyncio]

`REPLY` is a file with the bytes. As it stands the server is the product's own, emptied:
its threads around handlers that do nothing. `--stock` is what
grpcio gives whoever asks for nothing in particular, `--asyncio` its other kind of server.
"""

import argparse
import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from deepmoviematch.server.host.pool import Pool
from deepmoviematch.server.rpc.service import NAME
from tests.bench.servers import listen, say

THREADS = 4
"""As many as `serve` has by default."""

METHODS = ("Recommend", "SimilarItems")


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
    pool: Any = ThreadPoolExecutor(8) if chosen.stock else Pool(THREADS)
    server = grpc.server(pool)
    handler: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: reply)
    server.add_registered_method_handlers(NAME, dict.fromkeys(METHODS, handler))
    listen(server)


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
