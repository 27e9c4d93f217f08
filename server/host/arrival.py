"""Gives a call a thread only once its message is there.

gRPC takes a thread when a call begins and has it wait for the message. That costs two
more switches between threads, a third of all that a call costs the server; and it lets
a caller who begins calls and sends nothing hold every thread there is.

What follows rests on names of grpcio that are not public. Where they are not what they
were (`SUPPORTED` is false then, and a test says so), calls go gRPC's own way: slower,
otherwise the same.
"""

import inspect
from collections.abc import Callable
from typing import Any

from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]


def _is_supported() -> bool:
    try:
        parameters = [
            list(inspect.signature(function).parameters)
            for function in (
                _server._unary_response_in_pool,
                _server._unary_request,
                _server._receive_message,
            )
        ]
        names = (_server._RECEIVE_MESSAGE_TOKEN, cygrpc.ReceiveMessageOperation)
    except (AttributeError, ValueError):
        return False
    call = ["rpc_event", "state"]
    return all(names) and parameters == [
        [*call, "behavior", "argument_thunk", "request_deserializer", "response_serializer"],
        [*call, "request_deserializer"],
        ["state", "call", "request_deserializer"],
    ]


SUPPORTED = _is_supported()


def await_message(arguments: tuple[Any, ...], then: Callable[[tuple[Any, ...] | None], None]) -> bool:
    """Have `then` called once the message of a unary call is there, or will never be.

    Args:
        arguments: What gRPC submitted: how to answer the call, the call, and a function
            that waits for its message.
        then: Takes the arguments to go on with, or None if the call has ended. It is
            called once, on gRPC's own thread, so it must not take long.

    Returns:
        False if gRPC submitted something else: nothing happens then.
    """
    if not SUPPORTED or not _is_unary(arguments):
        return False
    respond, rpc_event, state, behavior, _, deserialise, serialise = arguments
    receive = _server._receive_message(state, rpc_event.call, deserialise)

    def arrived(event: Any) -> Any:
        ended, callbacks = receive(event)
        message, state.request = state.request, None
        if message is not None:
            then((respond, rpc_event, state, behavior, lambda: message, deserialise, serialise))
        else:  # if it never comes, gRPC knows what to say
            then(arguments if ended is None else None)
        return ended, callbacks

    # gRPC holds the call's lock while it submits, so that nothing happens to the call meanwhile.
    rpc_event.call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), arrived)
    state.due.add(_server._RECEIVE_MESSAGE_TOKEN)
    return True


def _is_unary(arguments: tuple[Any, ...]) -> bool:
    return (
        len(arguments) == 7
        and arguments[0] is _server._unary_response_in_pool
        and arguments[4].__qualname__.startswith("_unary_request.")  # else it streams its requests
    )
