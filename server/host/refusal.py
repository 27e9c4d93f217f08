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
    told = ending(status)

    def refuse(_requests: object, context: grpc.ServicerContext, send: Callable[[None], None]) -> None:
        context.set_code(told.code)
        context.set_details(told.details)
        context.set_trailing_metadata(told.trailing_metadata)
        send(None)

    # gRPC's own way to run a handler on another thread, and to answer from it without one.
    vars(refuse).update(experimental_non_blocking=True, experimental_thread_pool=_HERE)
    handler: Any = grpc.stream_stream_rpc_method_handler(refuse)
    handler.ending = told
    return handler  # type: ignore[no-any-return]


def ending(status: status_pb2.Status) -> Ending:
    """The end of a call with `status`."""
    told: Any = rpc_status.to_status(status)
    return Ending(told.code, told.details, told.trailing_metadata)


class _Here(ThreadPoolExecutor):
    """Runs what it is given at once, on the thread that asks."""

    def submit(self, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> Any:
        fn(*args, **kwargs)


_HERE = _Here(1)
