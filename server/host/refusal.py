"""Ends calls of any kind unread, for as little as gRPC allows.

A handler that takes a stream, of which it reads nothing, and returns a stream, which it ends,
looks like a unary call on the wire. gRPC's own way to run it costs a sixth more than to send
the ending, which rests on names of grpcio that are not public. Where they are not what they were
(`SUPPORTED` is false then, and a test says so), refusals go gRPC's own way: otherwise the same.
"""

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
from google.rpc import status_pb2
from grpc import _common, _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]
from grpc_status import rpc_status

from deepmoviematch.server.host import arrival


def _is_supported() -> bool:
    try:
        codes = _common.STATUS_CODE_TO_CYGRPC_STATUS_CODE
        parameters = list(inspect.signature(_server._stream_response_in_pool).parameters)
    except (AttributeError, ValueError):
        return False
    run = ["rpc_event", "state", "behavior", "argument_thunk", "request_deserializer", "response_serializer"]
    return bool(codes) and arrival.SUPPORTED and parameters == run


SUPPORTED = _is_supported()


class _Ending(NamedTuple):
    """What a call is told, as gRPC's core takes it."""

    code: Any
    details: bytes
    trailing_metadata: Any


def refusing(status: status_pb2.Status) -> "grpc.RpcMethodHandler[Any, Any]":
    """A handler that ends every call with `status`, whatever its type, without reading its request."""
    ending: Any = rpc_status.to_status(status)

    def refuse(_requests: object, context: grpc.ServicerContext, send: Callable[[None], None]) -> None:
        context.set_code(ending.code)
        context.set_details(ending.details)
        context.set_trailing_metadata(ending.trailing_metadata)
        send(None)

    # gRPC's own way to run a handler on another thread, and to answer from it without one.
    vars(refuse).update(experimental_non_blocking=True, experimental_thread_pool=_HERE)
    if SUPPORTED:
        code = _common.STATUS_CODE_TO_CYGRPC_STATUS_CODE[ending.code]
        vars(refuse).update(ending=_Ending(code, ending.details.encode(), ending.trailing_metadata))
    return grpc.stream_stream_rpc_method_handler(refuse)


class _Here(ThreadPoolExecutor):
    """Runs what it is given at once, on the thread that asks; what only ends a call it ends itself."""

    def submit(self, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> Any:
        if not _end(args):
            fn(*args, **kwargs)


_HERE = _Here(1)


def _end(arguments: tuple[Any, ...]) -> bool:
    """End the call that gRPC submitted; False if it submitted something else: nothing happens then."""
    if not SUPPORTED or len(arguments) != 7 or arguments[0] is not _server._stream_response_in_pool:
        return False
    _, rpc_event, state, behavior, *_ = arguments
    ending: _Ending = behavior.ending
    # gRPC holds the call's lock while it submits, so that nothing happens to the call meanwhile.
    status = cygrpc.SendStatusFromServerOperation(ending.trailing_metadata, ending.code, ending.details, 0)
    arrival.end(rpc_event, state, status)
    return True
