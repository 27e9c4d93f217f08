"""Takes calls from gRPC's completion queue, so that a unary one takes no thread before its message is there.

gRPC takes a thread when a call begins and has it wait for the message. That costs two
more switches between threads, a third of all that a call costs the server; and it lets
a caller who begins calls and sends nothing hold every thread there is. The polling thread, which waits for
the queue's events, does nothing else; here it may be given work that takes less time than to hand it on.
gRPC also asks at once to be told of every call's end, which is one more event for each; here
only those that wait for a thread are asked about at once, the others in one go with their answer.

What follows rests on names of grpcio that are not public. Where they are not what they
were (`SUPPORTED` is false then, which a test and a warning at the start tell), calls go gRPC's own
way: slower, a call that sends no message holds a thread, for which health waits like other calls, and nobody
knows which replies are taken.
"""

import inspect
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import grpc
from grpc import _common, _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from deepmoviematch.server.host.untaken import LEAST_BYTES, Untaken

LEAST_S, MOST_S = 0.001, 0.02
"""How long events are seen to between two pieces of work: for as long as the last one took, within these.

A refusal costs a third of the cheapest answer. Were no call taken in before all that wait are answered,
nobody would ever be refused: who floods the server would fill the queue in gRPC's core, where 1,000 wait for
longer than most callers do, and be dropped from there as CANCELLED, as most of a flood of cheap calls are
with half as long. Were every call taken in first, a flood would be refused and nobody answered. In less than
`LEAST_S` too few come together for one step to serve many; and a halt of the machine says nothing of what
answers take.
"""


_CALL, _ANSWERING = "rpc_event state", "behavior argument_thunk request_deserializer response_serializer"
_CALLED = {
    "_server._unary_response_in_pool": f"{_CALL} {_ANSWERING}",
    "_server._stream_response_in_pool": f"{_CALL} {_ANSWERING}",
    "_server._handle_with_method_handler": f"{_CALL} method_handler thread_pool",
    "_server._receive_close_on_server": "state",
    "_server._send_message": "state token",
    "_server._is_rpc_state_active": "state",
    "_server._serve": "state",
    "_server._process_event_and_continue": "state event",
    "_server._begin_shutdown_once": "state",
    "_server._request_call": "state",
    "_server._request_registered_call": "state method",
    "_server._HandlerCallDetails": "method invocation_metadata",
    "_common.decode": "b",
    "_common.deserialize": "serialized_message deserializer",
}
"""What is called -> the names of its parameters."""

_READ = {
    "grpc": "_common.STATUS_CODE_TO_CYGRPC_STATUS_CODE _server._ServerStage.STARTED "
    "_server._REQUEST_CALL_TAG _server._SEND_MESSAGE_TOKEN _server._RECEIVE_CLOSE_ON_SERVER_TOKEN "
    "_server._DEALLOCATED_SERVER_CHECK_PERIOD_S",
    "cygrpc": "ReceiveMessageOperation SendMessageOperation SendInitialMetadataOperation "
    "SendStatusFromServerOperation ReceiveCloseOnServerOperation StatusCode.ok CompletionType.queue_timeout "
    "Call.cancel",
    "server": "_state.lock _state.completion_queue.poll _state.rpc_states _state.due _state.stage "
    "_state.thread_pool _state.registered_method_handlers _state.generic_handlers "
    "_state.interceptor_pipeline _state.maximum_concurrent_rpcs _state.server_deallocated",
    "context": "_rpc_event _state.context _state.condition _state.due _state.client "
    "_state.callbacks _state.initial_metadata_allowed",
}
"""What is read of modules, and of objects as gRPC makes them."""


def _is_supported() -> bool:
    try:
        found = {"grpc": grpc, "cygrpc": cygrpc, "server": grpc.server(ThreadPoolExecutor(1))}
        found["context"] = _server._Context(None, _server._RPCState(), None)  # type: ignore
        for whose, names in _READ.items():
            attrgetter(*names.split())(found[whose])
        return all(
            " ".join(inspect.signature(attrgetter(name)(grpc)).parameters) == parameters
            for name, parameters in _CALLED.items()
        )
    except Exception:  # whatever a later grpcio makes of this
        return False


SUPPORTED = _is_supported()
_starting = threading.Lock()

log = logging.getLogger(__name__)


class Ending(NamedTuple):
    """What a call is told at its end."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...] = ()


_NO_METHOD = Ending(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
_NO_MESSAGE = Ending(grpc.StatusCode.UNIMPLEMENTED, "The method requires exactly one request message.")
_NOT_READ = Ending(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
INTERNAL = Ending(grpc.StatusCode.INTERNAL, "internal error")
_NOT_FOUND_OUT = Ending(grpc.StatusCode.UNKNOWN, "Error in service handler!")


class Host(Protocol):
    """Takes calls, and has work for the polling thread, on which all of this is asked."""

    untaken: Untaken

    def expect(self, call: "Call") -> None:
        """A call with one message has begun, which is not there yet; it may be refused until it is."""

    def receive(self, call: "Call") -> None:
        """The message is there, or will never be if the call is open no more."""

    def has_work(self) -> bool:
        """Whether there is work."""

    def work(self) -> None:
        """Do some of it; what comes meanwhile waits, so it must not take long."""


class Call:
    """A call with one message: run it, or answer it."""

    __slots__ = ("_event", "_own", "_server", "_untaken", "handler", "is_open", "message")

    def __init__(self, event: Any, server: Any, handler: Any, untaken: Untaken) -> None:
        self._event, self._server, self.handler, self._untaken = event, server, handler, untaken
        self.message: Any = None
        self._own: Any = None  # gRPC's state of the call, if it goes gRPC's own way
        self.is_open = True
        """Whether nobody has run, answered or refused it yet."""

    def __call__(self) -> None:
        """Have gRPC ask the handler, and send what it returns or raises."""
        self.run(self.handler.unary_unary or self.handler.unary_stream)

    def run(self, behavior: Callable[..., object]) -> None:
        """Have gRPC ask another function, which takes the message and a context."""
        self.is_open = False
        self.follow()
        own, handler = self._own, self.handler
        answer, serialize = _server._unary_response_in_pool, self._serialized
        if handler.response_streaming:
            answer, serialize = _server._stream_response_in_pool, handler.response_serializer
        own.context.run(
            answer,
            *(self._event, own, behavior, lambda: self.message),
            *(handler.request_deserializer, serialize),
        )

    def cancel(self) -> None:
        """End a call that was answered; its caller, if it is there still, finds it CANCELLED."""
        self._event.call.cancel()

    def follow(self) -> None:
        """Know from now on if its caller gives up."""
        if self._own is not None:
            return
        own: Any = _server._RPCState()  # type: ignore[no-untyped-call]
        self._own = own
        with self._server.lock:  # whoever stops the server must find one of the two
            self._server.rpc_states.add(own)
            self._server.rpc_states.discard(self)
        own.due.add(_server._RECEIVE_CLOSE_ON_SERVER_TOKEN)
        self._event.call.start_server_batch(
            (cygrpc.ReceiveCloseOnServerOperation(0),), _server._receive_close_on_server(own)
        )

    def invocation_metadata(self) -> Any:
        """What the caller sent before the message: keys and values."""
        return self._event.invocation_metadata

    def is_awaited(self, now: float) -> bool:
        """Whether the call's deadline is later than `now`, in seconds since 1970."""
        return bool(self._event.call_details.deadline > now)

    def answer(self, contents: bytes, trailing_metadata: Iterable[tuple[str, str]] = ()) -> None:
        """End the call well, which must not be followed: send a serialised reply, and nothing more."""
        self._end(cygrpc.StatusCode.ok, b"", trailing_metadata, contents)

    def refuse(self, ending: Ending) -> None:
        """End the call, which must not be followed, without an answer."""
        code = _common.STATUS_CODE_TO_CYGRPC_STATUS_CODE[ending.code]
        self._end(code, ending.details.encode(), ending.trailing_metadata, None)

    def await_message(self, host: Host) -> None:
        """Have `host` receive the call with its message, or None if none comes."""
        host.expect(self)
        self._event.call.start_server_batch(
            (cygrpc.ReceiveMessageOperation(0),), partial(self._arrived, host)
        )

    def _arrived(self, host: Host, event: Any) -> Any:
        if not self.is_open:  # it was refused meanwhile
            return None, ()
        contents = event.batch_operations[0].message()
        if contents is not None:
            self.message = _common.deserialize(contents, self.handler.request_deserializer)
        if self.message is None:
            self.refuse(_NO_MESSAGE if contents is None else _NOT_READ)
        host.receive(self)
        return None, ()

    def _serialized(self, reply: Any) -> bytes:
        """The reply, which gRPC sends next unless its caller has left."""
        serialize = self.handler.response_serializer
        contents: bytes = serialize(reply) if serialize else reply
        self.message = None  # which may be larger than the reply, and would last as long
        with self._own.condition:
            if len(contents) >= LEAST_BYTES and self._own.callbacks is not None:
                self._untaken.add(self, len(contents))
                self._own.callbacks.append(partial(self._untaken.remove, self))
        return contents

    def _end(self, code: Any, details: bytes, trailing_metadata: Any, contents: bytes | None) -> None:
        if not self.is_open or self._own is not None:
            raise RuntimeError("a call must be ended once, and run if it is followed")
        self.is_open, self.message = False, None
        ended: Callable[[Any], Any] = self._ended
        if contents is not None and len(contents) >= LEAST_BYTES:
            self._untaken.add(self, len(contents))
            ended = self._taken
        self._event.call.start_server_batch(
            (
                cygrpc.SendInitialMetadataOperation((), 0),
                *(() if contents is None else (cygrpc.SendMessageOperation(contents, 0),)),
                cygrpc.ReceiveCloseOnServerOperation(0),
                cygrpc.SendStatusFromServerOperation(trailing_metadata, code, details, 0),
            ),
            ended,
        )

    def _taken(self, event: Any) -> Any:
        self._untaken.remove(self)
        return self._ended(event)

    def _ended(self, _event: Any) -> Any:
        return self, ()  # what gRPC no longer has to keep


def send(context: Any, contents: bytes, then: Callable[[], None]) -> None:
    """Send a message of a stream, and wait for nothing; gRPC's own way waits until the caller takes it.

    Args:
        context: Of a call that is answered with a stream, of which no other message is on its way.
        contents: The message, serialised.
        then: Asked once the message has been taken, or never will be; not at all if the caller has left.
    """
    state, token = context._state, _server._SEND_MESSAGE_TOKEN
    with state.condition:
        if not _server._is_rpc_state_active(state):
            return
        operations = [cygrpc.SendMessageOperation(contents, 0)]
        if state.initial_metadata_allowed:
            operations.insert(0, cygrpc.SendInitialMetadataOperation((), 0))
            state.initial_metadata_allowed = False
        done = partial(_sent, _server._send_message(state, token), then)
        context._rpc_event.call.start_server_batch(tuple(operations), done)
        state.due.add(token)


def _sent(finish: Callable[[Any], Any], then: Callable[[], None], event: Any) -> Any:
    own, callbacks = finish(event)
    return own, (*callbacks, then)


def start(server: grpc.Server, host: Host) -> bool:
    """Start a server, and have `host` receive its calls, but for those that stream their requests.

    Args:
        server: As `grpc.server` made it. A handler of its with an attribute `ending` ends calls with that.
        host: Has work to be done whenever there is no event; see `MOST_S` for when there is.

    Returns:
        False if the server was started gRPC's own way: `host` is never asked then. So are servers with
        interceptors and those with a limit of calls at once.
    """
    if not SUPPORTED:
        log.warning(
            "grpcio must have the private names that are used here, got version %s without: half-sent calls "
            "hold threads, and health waits; install the version of requirements.lock",
            grpc.__version__,
        )
    state: Any = vars(server).get("_state")
    if not SUPPORTED or state.interceptor_pipeline or state.maximum_concurrent_rpcs:
        server.start()
        return False
    with _starting:  # gRPC gives the thread whatever has this name now
        usual, _server._serve = _server._serve, partial(_serve, host=host)
        try:
            server.start()
        finally:
            _server._serve = usual
    return True


def _serve(state: Any, host: Host) -> None:
    """Poll; if that fails nobody will ever be answered again, so the process ends for others to see."""
    try:
        _poll(state, host)
    except BaseException:
        try:
            log.critical("a bug has ended the thread that takes calls; so ends the process", exc_info=True)
            logging.shutdown()
        finally:
            os._exit(os.EX_SOFTWARE)


def _poll(state: Any, host: Host) -> None:
    """What gRPC's thread does until the server ends, with work in between."""
    polls_until = 0.0
    while True:
        busy = host.has_work()
        until = 0 if busy else time.time() + _server._DEALLOCATED_SERVER_CHECK_PERIOD_S
        event = state.completion_queue.poll(until)
        if state.server_deallocated:
            _server._begin_shutdown_once(state)
        nothing = event.completion_type == cygrpc.CompletionType.queue_timeout
        if not (nothing or _began(state, event, host) or _server._process_event_and_continue(state, event)):
            return
        event = None  # a call that has ended must not be held while others are waited for
        if busy and (nothing or time.perf_counter() > polls_until):
            began = time.perf_counter()
            host.work()
            ended = time.perf_counter()
            polls_until = ended + min(max(ended - began, LEAST_S), MOST_S)


def _began(state: Any, event: Any, host: Host) -> bool:
    """Whether the event was a new call's, as long as there are to be some; it is seen to then."""
    registered = event.tag in state.registered_method_handlers
    if not (registered or event.tag is _server._REQUEST_CALL_TAG) or not event.success:
        return False
    with state.lock:
        if state.stage is not _server._ServerStage.STARTED:
            return False
        state.due.remove(event.tag)
        _open(state, event, host)
        if registered:
            _server._request_registered_call(state, event.tag)
        else:
            _server._request_call(state)
    return True


def _open(state: Any, event: Any, host: Host) -> None:
    """Give a call to whatever handles it; whoever asks holds the server's lock."""
    handler: Any = None
    ending: Ending | None
    try:
        handler = _handler(state, event)
        ending = _NO_METHOD if handler is None else getattr(handler, "ending", None)
    except Exception:
        log.exception("a bug in looking for a call's handler")
        ending = _NOT_FOUND_OUT
    if ending is None and handler.request_streaming:
        own: Any = _server._RPCState()  # type: ignore[no-untyped-call]
        state.rpc_states.add(own)
        _server._handle_with_method_handler(event, own, handler, state.thread_pool)
        return
    call = Call(event, state, handler, host.untaken)
    state.rpc_states.add(call)
    if ending is None:
        call.await_message(host)
    else:
        call.refuse(ending)


def _handler(state: Any, event: Any) -> Any:
    """What the server has for the method, or None."""
    if event.tag is not _server._REQUEST_CALL_TAG:
        return state.registered_method_handlers[event.tag]
    method = _common.decode(event.call_details.method)
    details = _server._HandlerCallDetails(method, event.invocation_metadata)
    for each in state.generic_handlers:
        handler = each.service(details)
        if handler is not None:
            return handler
    return None
