"""Gives a call a thread only once its message is there, or none, and lets it be answered in few steps.

gRPC takes a thread when a call begins and has it wait for the message. That costs two
more switches between threads, a third of all that a call costs the server; and it lets
a caller who begins calls and sends nothing hold every thread there is. The thread that hears
of calls does nothing else; here it may be given work that takes less time than to hand it on.

What follows rests on names of grpcio that are not public. Where they are not what they
were (`SUPPORTED` is false then, and a test says so), calls go gRPC's own way: slower,
otherwise the same.
"""

import inspect
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import grpc
from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]

MOST_HEARD = 128
"""So many events may be heard of before there is work again, at most: some 30 to 40 calls.

A call that is answered is four events, a refused one three. Were there no more than a group that is
answered makes, nobody would ever be refused: who floods the server would fill the queue in gRPC's core,
where 1,000 wait for longer than most callers do, and be dropped from there as CANCELLED. But a refusal
costs a quarter of an answer: the more is heard of a flood, the sooner everybody knows, and the fewer are
answered.
"""


def _is_supported() -> bool:
    try:
        parameters = [
            list(inspect.signature(function).parameters)
            for function in (
                _server._unary_response_in_pool,
                _server._unary_request,
                _server._receive_message,
                _server._send_status_from_server,
                _server._serve,
                _server._process_event_and_continue,
                _server._begin_shutdown_once,
            )
        ]
        names = (
            *(_server._RECEIVE_MESSAGE_TOKEN, _server._SEND_STATUS_FROM_SERVER_TOKEN, _server._CANCELLED),
            *(cygrpc.ReceiveMessageOperation, cygrpc.SendMessageOperation, cygrpc.StatusCode.ok.name),
            *(cygrpc.SendInitialMetadataOperation, cygrpc.SendStatusFromServerOperation),
            *(_server._DEALLOCATED_SERVER_CHECK_PERIOD_S, cygrpc.CompletionType.queue_timeout),
        )
    except (AttributeError, ValueError):
        return False
    call = ["rpc_event", "state"]
    return all(names) and parameters == [
        [*call, "behavior", "argument_thunk", "request_deserializer", "response_serializer"],
        [*call, "request_deserializer"],
        ["state", "call", "request_deserializer"],
        ["state", "token"],
        ["state"],
        ["state", "event"],
        ["state"],
    ]


SUPPORTED = _is_supported()
_starting = threading.Lock()


class Call:
    """A unary call whose message is there: run it, or answer it."""

    __slots__ = ("_codec", "_event", "_respond", "_run", "_state", "handler", "message")

    def __init__(self, run: Callable[..., object], arguments: tuple[Any, ...], message: Any) -> None:
        """Take what gRPC submitted, and the message that it waits for.

        Args:
            run: How to run what was submitted.
            arguments: See `await_message`.
            message: As the call's deserialiser made it.
        """
        self._respond, self._event, self._state, self.handler, _, *self._codec = arguments
        self._run, self.message = run, message

    def __call__(self) -> None:
        """Have gRPC ask the handler, and send what it returns or raises."""
        self.run(self.handler)

    def run(self, handler: Callable[..., object]) -> None:
        """Have gRPC ask another handler, which takes the message and a context."""
        self._run(self._respond, self._event, self._state, handler, lambda: self.message, *self._codec)

    def invocation_metadata(self) -> Any:
        """What the caller sent before the message: keys and values."""
        return self._event.invocation_metadata

    def is_awaited(self, now: float) -> bool:
        """Whether at `now`, in seconds since 1970, the caller still waits for an answer."""
        return bool(self._state.client is not _server._CANCELLED and self._event.call_details.deadline > now)

    def answer(self, contents: bytes, trailing_metadata: Iterable[tuple[str, str]] = ()) -> None:
        """End the call well: send a serialised reply, and nothing more to be run."""
        with self._state.condition:
            if self._state.client is _server._CANCELLED:
                return
            end(
                self._event,
                self._state,
                cygrpc.SendMessageOperation(contents, 0),
                cygrpc.SendStatusFromServerOperation(trailing_metadata, cygrpc.StatusCode.ok, b"", 0),
            )


def end(rpc_event: Any, state: Any, *operations: Any) -> None:
    """Send the last of a call, of which nothing was sent; whoever asks holds the call's lock."""
    token = _server._SEND_STATUS_FROM_SERVER_TOKEN
    rpc_event.call.start_server_batch(
        (cygrpc.SendInitialMetadataOperation((), 0), *operations),
        _server._send_status_from_server(state, token),
    )
    state.statused = True
    state.due.add(token)


def await_message(
    run: Callable[..., object],
    arguments: tuple[Any, ...],
    then: Callable[[Callable[[], object] | None], None],
) -> bool:
    """Have `then` called once the message of a unary call is there, or will never be.

    Args:
        run: How gRPC wants the arguments run.
        arguments: What gRPC submitted: how to answer the call, the call, and a function
            that waits for its message.
        then: Takes the `Call`, or how to end it if no message came, or None if it has ended. It
            is called once, on gRPC's own thread, so it must not take long.

    Returns:
        False if gRPC submitted something else: nothing happens then.
    """
    if not SUPPORTED or not _is_unary(arguments):
        return False
    _, rpc_event, state, _, _, deserialise, _ = arguments
    receive = _server._receive_message(state, rpc_event.call, deserialise)

    def arrived(event: Any) -> Any:
        ended, callbacks = receive(event)
        message, state.request = state.request, None
        if message is not None:
            then(Call(run, arguments, message))
        else:  # if it never comes, gRPC knows what to say
            then(partial(run, *arguments) if ended is None else None)
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


def start(server: grpc.Server, waits: Callable[[], object], work: Callable[[], object]) -> bool:
    """Start a server, and have the thread that hears of calls do some work in between.

    Args:
        server: As `grpc.server` made it.
        waits: Whether there is work.
        work: Does some of it; called as long as there is, whenever there is nothing new to hear,
            or has been `MOST_HEARD` times. What is heard meanwhile waits, so it must not take long.

    Returns:
        False if the server was started gRPC's own way: `work` is never called then.
    """
    if not SUPPORTED:
        server.start()
        return False
    with _starting:  # gRPC gives the thread whatever has this name now
        usual, _server._serve = _server._serve, partial(_hear, waits=waits, work=work)
        try:
            server.start()
        finally:
            _server._serve = usual
    return True


def _hear(state: Any, waits: Callable[[], object], work: Callable[[], object]) -> None:
    """What gRPC's thread does until the server ends, with work in between."""
    heard = 0
    while True:
        busy = waits()
        until = 0 if busy else time.time() + _server._DEALLOCATED_SERVER_CHECK_PERIOD_S
        event = state.completion_queue.poll(until)
        if state.server_deallocated:
            _server._begin_shutdown_once(state)
        nothing = event.completion_type == cygrpc.CompletionType.queue_timeout
        if not nothing and not _server._process_event_and_continue(state, event):
            return
        event = None  # a call that has ended must not be held while others are waited for
        heard += 1
        if busy and (nothing or heard >= MOST_HEARD):
            work()
            heard = 0
