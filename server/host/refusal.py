"""Ends calls of any kind unread, for as little as gRPC allows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from deepmoviematch.server.host.arrival import Ending


def refusing(status: status_pb2.Status) -> "grpc.RpcMethodHandler[Any, Any]":
    """A handler that ends every call with `status`, whatever its type, without reading its request.

    Where `arrival.start` started the server that is all that happens. To gRPC the handler takes a stream,
    of which it reads nothing, and returns a stream, which it ends: on the wire that looks like a unary call.
    """
    told: Any = rpc_status.to_status(status)
    ending = Ending(told.code, told.details, told.trailing_metadata)

    def refuse(_requests: object, context: grpc.ServicerContext, send: Callable[[None], None]) -> None:
        context.set_code(ending.code)
        context.set_details(ending.details)
        context.set_trailing_metadata(ending.trailing_metadata)
        send(None)

    # gRPC's own way to run a handler on another thread, and to answer from it without one.
    vars(refuse).update(experimental_non_blocking=True, experimental_thread_pool=_HERE)
    handler: Any = grpc.stream_stream_rpc_method_handler(refuse)
    handler.ending = ending
    return handler  # type: ignore[no-any-return]


class _Here(ThreadPoolExecutor):
    """Runs what it is given at once, on the thread that asks."""

    def submit(self, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> Any:
        fn(*args, **kwargs)


_HERE = _Here(1)
