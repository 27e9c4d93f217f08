"""How a call is run: asked of the service, ended as its reply or error says, and logged.

Careful: `context.abort_with_status` raises a bare Exception, so a service that
aborts by itself would be taken for a bug. Services raise our errors instead.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Protocol, TypeAlias, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.server.errors import CallerLeftError, DeadlinePassedError, OverloadedError
from deepmoviematch.server.rpc.batch import BATCH_METHODS
from deepmoviematch.server.rpc.status import internal, to_status
from deepmoviematch.server.telemetry.logs import log_answer, logs_answers
from deepmoviematch.server.telemetry.request_ids import HEADER, request_id

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Observer: TypeAlias = Callable[[str, str, float, Any, grpc.ServicerContext], None]
"""Takes method, status code, seconds, reply and context of a call."""

log = logging.getLogger(__name__)


class Service(Protocol):
    """Answers requests."""

    @property
    def batchable(self) -> Collection[str]:
        """Names of the methods that `ask_many` knows."""

    def is_cheap(self, contents: bytes) -> bool:
        """Whether such a request and several more of one of those take some tens of ms together, at most."""

    def ask(self, method: str, contents: bytes) -> Any:
        """Answer one.

        Args:
            method: Its name.
            contents: The serialised request.

        Returns:
            The reply; `contents` is its message, serialised.

        Raises:
            MovieMatchError: If the caller or the state of the server is to blame.
        """

    def ask_many(self, method: str, contents: Sequence[bytes]) -> Sequence[Any]:
        """Answer several of one method.

        Returns:
            For each what `ask` returns or raises, or None if it is to be asked alone.

        Raises:
            MovieMatchError: If `ask` would raise it for each of them.
        """


class BatchedCall(Protocol):
    """A call that may be answered in few steps, together with others."""

    message: bytes

    def invocation_metadata(self) -> Any:
        """As that of a `grpc.ServicerContext`."""

    def is_awaited(self, now: float) -> bool:
        """Whether the call's deadline is later than `now`, in seconds since 1970."""

    def run(self, handler: Callable[[bytes, grpc.ServicerContext], Any]) -> None:
        """End it as `handler`, which takes message and context, returns or aborts."""

    def answer(self, contents: bytes, trailing_metadata: Sequence[tuple[str, str]] = ()) -> None:
        """End the call well."""


_Call = TypeVar("_Call", bound=BatchedCall)


def handlers(
    service: Service,
    descriptor: ServiceDescriptor,
    late: Callable[[], bool],
    observe: Observer | None = None,
) -> dict[str, _Handler]:
    """How to run each unary call of a service: maps its errors, hides its bugs, logs one line.

    The trailing metadata tell the name of each call to whoever gave it one, and of those that fail
    to everybody, whether calls are logged or not.

    Args:
        service: Answers.
        descriptor: Names its methods and their messages.
        late: Whether the call that this thread is at has waited too long.
        observe: Told of every call's method, code, seconds, reply and context, besides the log.

    Returns:
        Path ("/package.Service/Method") -> handler.
    """
    return {
        path: grpc.unary_unary_rpc_method_handler(
            (_BatchingHandler if method.name in service.batchable else _Answering)(
                path, method.name, service, late, observe
            ),
            response_serializer=attrgetter("contents"),
        )
        for method in descriptor.methods
        for path in [f"/{descriptor.full_name}/{method.name}"]
    }


class _Answering:
    """What a call of one method meets."""

    def __init__(
        self, path: str, method: str, service: Service, late: Callable[[], bool], observe: Observer | None
    ) -> None:
        self._path, self._method = path, method
        self._service, self._late, self._observe = service, late, observe
        self.is_bulk = method in BATCH_METHODS
        """Whether one call may take seconds."""

    def __call__(self, request: bytes, context: grpc.ServicerContext) -> Any:
        """Answer a call, or abort it."""
        started = time.perf_counter()
        outcome: Any
        try:
            remaining = context.time_remaining()
            if remaining is not None and remaining <= 0:
                raise DeadlinePassedError
            if not context.is_active():
                raise CallerLeftError
            if self._late():
                raise OverloadedError
            outcome = self._service.ask(self._method, request)
        except Exception as error:
            outcome = error
        return self._end(started, outcome, context)

    def _end(self, started: float, outcome: Any, context: grpc.ServicerContext) -> Any:
        """Return a reply, or abort the call for the error that there is in its stead."""
        failed = isinstance(outcome, Exception)
        name, wanted = _name_of(context, failed=failed)
        if not failed:
            self._take_down("OK", started, outcome, name, context)
            if wanted:
                context.set_trailing_metadata(((HEADER, name),))
            return outcome
        status = _status_of(outcome)
        self._take_down(code_pb2.Code.Name(status.code), started, None, name, context)
        ending: Any = rpc_status.to_status(status)
        trailing_metadata = (*ending.trailing_metadata, (HEADER, name))
        return context.abort_with_status(ending._replace(trailing_metadata=trailing_metadata))

    def _take_down(self, code: str, started: float, reply: Any, name: str, call: Any) -> None:
        """Tell the log and the observer of a call; a bug in that is no matter of the call."""
        try:
            seconds = time.perf_counter() - started
            log_answer(self._path, code, seconds, reply, name)
            if self._observe is not None:
                self._observe(self._path, code, seconds, reply, call)
        except Exception:
            log.exception("a bug in taking down a call")


class _BatchingHandler(_Answering):
    """The same, of which several may be answered at once."""

    def is_cheap(self, message: bytes) -> bool:
        """Whether that takes less time than to have a call run by a thread of its own."""
        return self._service.is_cheap(message)

    def answer_many(self, calls: Sequence[_Call]) -> Sequence[_Call]:
        """Answer several calls; returns those that are to be run one by one."""
        started, now = time.perf_counter(), time.time()
        left = [call for call in calls if not call.is_awaited(now)]
        awaited = [call for call in calls if call not in left] if left else calls
        if not awaited:
            return left
        outcomes: Sequence[Any]
        try:
            outcomes = self._service.ask_many(self._method, [call.message for call in awaited])
        except Exception as error:
            if len(awaited) > 1 and not isinstance(error, MovieMatchError):
                return calls  # a bug is only for the one that it comes with
            outcomes = [error] * len(awaited)
        answered = []
        for call, outcome in zip(awaited, outcomes, strict=True):
            if outcome is None:
                left.append(call)
            elif isinstance(outcome, Exception):
                _safely(call.run, partial(self._refuse, started, outcome))
            else:
                answered.append((call, outcome, *_name_of(call)))
        for call, outcome, name, _ in answered:
            self._take_down("OK", started, outcome, name, call)
        for call, outcome, name, wanted in answered:
            _safely(call.answer, outcome.contents, ((HEADER, name),) if wanted else ())
        return left

    def _refuse(self, started: float, error: Exception, _: bytes, context: grpc.ServicerContext) -> Any:
        return self._end(started, error, context)


def _safely(step: Callable[..., object], *arguments: object) -> None:
    """Take a step of ending a call; a bug in it is no matter of the other calls."""
    try:
        step(*arguments)
    except Exception:
        log.exception("a bug in ending a call")


def _name_of(call: Any, *, failed: bool = False) -> tuple[str, bool]:
    """The name of a call if somebody will see it, and whether its caller wants to hear it."""
    return request_id(call.invocation_metadata(), always=failed or logs_answers())


def _status_of(error: Exception) -> status_pb2.Status:
    """The status to end a call with that raised `error`."""
    if isinstance(error, MovieMatchError):
        return to_status(error)
    log.error("a bug in answering a request", exc_info=error)
    return internal()
