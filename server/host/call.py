"""A call with one message: taken without a thread, and ended or handed to one; messages of a stream.

It rests on names of grpcio that are not public (`privates.py`).
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, Protocol

import grpc
from grpc import _common, _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from deepmoviematch.server.host.untaken import LEAST_BYTES, Untaken


class Ending(NamedTuple):
    """What a call is told at its end."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...] = ()


_NO_MESSAGE = Ending(grpc.StatusCode.UNIMPLEMENTED, "The method requires exactly one request message.")
_NOT_READ = Ending(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
INTERNAL = Ending(grpc.StatusCode.INTERNAL, "internal error")


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
