"""What a call meets before anything of it is read.

A refusal costs the server as little as gRPC allows: it is given on gRPC's own thread,
without the request's message, so that a flood of calls which cannot be answered leaves
room for those that can.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import grpc

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.server.errors import OverloadedError, StoppingError
from deepmoviematch.server.host.keys import Keys
from deepmoviematch.server.host.pool import Pool
from deepmoviematch.server.host.refusal import ending, named, refusing
from deepmoviematch.server.rpc.status import retry_s, to_status

MOST_REFUSALS = 1000
"""Of the refusals made so many are kept; of each key with few calls there is one for every second to wait."""

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Door(grpc.GenericRpcHandler):
    """Lets calls in to their handlers, as long as there is room and the server is not stopping."""

    def __init__(self, handlers: Mapping[str, _Handler], pool: Pool, keys: Keys | None = None) -> None:
        """Take what lies behind the door.

        Args:
            handlers: By path ("/package.Service/Method").
            pool: Runs them.
            keys: Who may call; None lets everybody in.
        """
        self._handlers = handlers
        self._pool = pool
        self._keys = keys
        self._refusals: dict[tuple[str, int], Any] = {}
        """By what they say and how long to wait: made once, as that takes longer than to refuse."""
        self._closed = False
        self.started = dict.fromkeys(handlers, 0)
        """Path -> calls that came, whatever became of them."""
        self.refused = pool.refusals.counts
        """Why -> calls that were not let in, or thrown out half-sent or before their reply was taken."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """See `grpc.GenericRpcHandler`; gRPC asks on its own thread, once for each call."""
        handler = self._handlers.get(handler_call_details.method)
        if handler is None:
            return None
        self.started[handler_call_details.method] += 1
        try:
            self._check(handler, handler_call_details)
        except MovieMatchError as error:
            self._pool.refusals.count(type(error))
            return self._refusal(error, handler_call_details.invocation_metadata)
        return handler

    def _refusal(self, error: MovieMatchError, metadata: Any) -> Any:
        said = str(error), retry_s(error)
        if said not in self._refusals:
            if len(self._refusals) >= MOST_REFUSALS:
                del self._refusals[next(iter(self._refusals))]  # the oldest
            self._refusals[said] = refusing(ending(to_status(error)))
        refusal = self._refusals[said]
        told = named(refusal.ending, metadata)
        return refusal if told is refusal.ending else refusing(told)

    def _check(self, handler: _Handler, handler_call_details: grpc.HandlerCallDetails) -> None:
        if self._closed:
            raise StoppingError
        if self._keys is not None:
            self._keys.check(handler_call_details.invocation_metadata)
        if self._pool.crowded(handler):
            raise OverloadedError

    def close(self) -> None:
        """Refuse every call from now on, as one to be tried elsewhere."""
        self._closed = True
