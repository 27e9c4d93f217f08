"""Errors become google.rpc.Status here and nowhere else; so do bugs, without their details.

Careful: `context.abort_with_status` raises a bare Exception, so a servicer that
aborts by itself would be taken for a bug. Servicers raise our errors instead.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2 as details_pb2, status_pb2
from grpc_status import rpc_status

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.server.errors import (
    DeadlinePassedError,
    GenerationGoneError,
    GenerationLoadingError,
    InvalidRequestError,
    NotReadyError,
    OverloadedError,
    RateError,
    StoppingError,
    UnknownCallerError,
    UnknownItemError,
    Violation,
)
from deepmoviematch.server.telemetry.logs import log_answer, logs_answers
from deepmoviematch.server.telemetry.request_ids import HEADER, request_id

DOMAIN = "deepmoviematch"
RETRY_S = 1
"""How long a caller should wait before asking again."""

_RETRIED: dict[type[MovieMatchError], tuple[int, str]] = {
    NotReadyError: (code_pb2.UNAVAILABLE, "NO_GENERATION"),
    StoppingError: (code_pb2.UNAVAILABLE, "STOPPING"),
    GenerationLoadingError: (code_pb2.UNAVAILABLE, "GENERATION_LOADING"),
    OverloadedError: (code_pb2.RESOURCE_EXHAUSTED, "OVERLOADED"),
    RateError: (code_pb2.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
}
"""Code and reason of what passes by itself."""

_FINAL: dict[type[MovieMatchError], tuple[int, str]] = {
    DeadlinePassedError: (code_pb2.DEADLINE_EXCEEDED, "DEADLINE_PASSED"),
    GenerationGoneError: (code_pb2.FAILED_PRECONDITION, "GENERATION_GONE"),
    UnknownCallerError: (code_pb2.UNAUTHENTICATED, "API_KEY_INVALID"),
}
"""The same of what does not."""

REASONS = {error: reason for error, (_, reason) in (_RETRIED | _FINAL).items()}
"""Why a call is refused unread, as a word for programs."""

_MESSAGE_CHARACTERS = 200
_DETAIL_BYTES = 3000
"""Status travels in HTTP/2 trailers, of which many clients take 8 KiB."""

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Observer: TypeAlias = Callable[[str, str, float, Any, grpc.ServicerContext], None]
"""Takes method, status code, seconds, reply and context of a call."""

log = logging.getLogger(__name__)


def to_status(error: MovieMatchError) -> status_pb2.Status:
    """What the caller is told of `error`."""
    match error:
        case InvalidRequestError():
            request = _bad_request(error.violations)
            return _status(code_pb2.INVALID_ARGUMENT, "INVALID_REQUEST", error, request)
        case UnknownItemError():
            item = details_pb2.ResourceInfo(resource_type="item", resource_name=error.item_id)
            return _status(code_pb2.NOT_FOUND, "ITEM_NOT_FOUND", error, item)
    if type(error) in _FINAL:
        return _status(*_FINAL[type(error)], error)
    if type(error) in _RETRIED:
        retry = details_pb2.RetryInfo()
        retry.retry_delay.FromSeconds(RETRY_S)
        return _status(*_RETRIED[type(error)], error, retry)
    log.error("no status code is defined for this error", exc_info=error)
    return _internal()


def abort(context: grpc.ServicerContext, error: MovieMatchError) -> NoReturn:
    """End a call of a service that has no `handlers`."""
    context.abort_with_status(rpc_status.to_status(to_status(error)))


class Service(Protocol):
    """Answers requests."""

    @property
    def together(self) -> Collection[str]:
        """Names of the methods that `ask_together` knows."""

    def is_swift(self, contents: bytes) -> bool:
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

    def ask_together(self, method: str, contents: Sequence[bytes]) -> Sequence[Any]:
        """Answer several of one method.

        Returns:
            For each what `ask` returns or raises, or None if it is to be asked alone.

        Raises:
            MovieMatchError: If `ask` would raise it for each of them.
        """


class Waiting(Protocol):
    """A call that may be answered in few steps."""

    message: bytes

    def invocation_metadata(self) -> Any:
        """As that of a `grpc.ServicerContext`."""

    def is_awaited(self, now: float) -> bool:
        """Whether the call's deadline is later than `now`, in seconds since 1970."""

    def run(self, handler: Callable[[bytes, grpc.ServicerContext], Any]) -> None:
        """End it as `handler`, which takes message and context, returns or aborts."""

    def answer(self, contents: bytes, trailing_metadata: Sequence[tuple[str, str]] = ()) -> None:
        """End the call well."""


_Waiting = TypeVar("_Waiting", bound=Waiting)


def handlers(
    service: Service,
    descriptor: ServiceDescriptor,
    late: Callable[[], bool],
    observe: Observer | None = None,
) -> dict[str, _Handler]:
    """How to run each unary call of a service: maps its errors, hides its bugs, logs one line.

    Where calls are logged, the trailing metadata tell the name of each to whoever gave it one, and
    of those that fail to everybody.

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
            (_Gathering if method.name in service.together else _Answering)(
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

    def __call__(self, request: bytes, context: grpc.ServicerContext) -> Any:
        """Answer a call, or abort it."""
        started = time.perf_counter()
        outcome: Any
        try:
            remaining = context.time_remaining()
            if not context.is_active() or (remaining is not None and remaining <= 0):
                raise DeadlinePassedError
            if self._late():
                raise OverloadedError
            outcome = self._service.ask(self._method, request)
        except Exception as error:
            outcome = error
        return self._end(started, outcome, context)

    def _end(self, started: float, outcome: Any, context: grpc.ServicerContext) -> Any:
        """Return a reply, or abort the call for the error that there is in its stead."""
        name, wanted = _name_of(context)
        if not isinstance(outcome, Exception):
            self._take_down("OK", started, outcome, name, context)
            if wanted:
                context.set_trailing_metadata(((HEADER, name),))
            return outcome
        status = _status_of(outcome)
        self._take_down(code_pb2.Code.Name(status.code), started, None, name, context)
        ending: Any = rpc_status.to_status(status)
        if name:
            ending = ending._replace(trailing_metadata=(*ending.trailing_metadata, (HEADER, name)))
        return context.abort_with_status(ending)

    def _take_down(self, code: str, started: float, reply: Any, name: str, call: Any) -> None:
        seconds = time.perf_counter() - started
        log_answer(self._path, code, seconds, reply, name)
        if self._observe is not None:
            self._observe(self._path, code, seconds, reply, call)


class _Gathering(_Answering):
    """The same, of which several may be answered at once."""

    def is_swift(self, message: bytes) -> bool:
        """Whether that takes less time than to have a call run by a thread of its own."""
        return self._service.is_swift(message)

    def together(self, calls: Sequence[_Waiting]) -> Sequence[_Waiting]:
        """Answer several calls; returns those that are to be run one by one."""
        started, now = time.perf_counter(), time.time()
        left = [call for call in calls if not call.is_awaited(now)]
        awaited = [call for call in calls if call not in left] if left else calls
        if not awaited:
            return left
        outcomes: Sequence[Any]
        try:
            outcomes = self._service.ask_together(self._method, [call.message for call in awaited])
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
            _safely(self._take_down, "OK", started, outcome, name, call)
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


def _name_of(call: Any) -> tuple[str, bool]:
    """The name of a call where calls are logged, and whether its caller wants to hear it."""
    return request_id(call.invocation_metadata()) if logs_answers() else ("", False)


def _status_of(error: Exception) -> status_pb2.Status:
    """The status to end a call with that raised `error`."""
    if isinstance(error, MovieMatchError):
        return to_status(error)
    log.error("a bug in answering a request", exc_info=error)
    return _internal()


def _status(code: int, reason: str, error: MovieMatchError, *details: Message) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=_cut(str(error), _MESSAGE_CHARACTERS))
    info = details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    for detail in (info, *details):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _internal() -> status_pb2.Status:
    info = AnyMessage()
    info.Pack(details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN))
    return status_pb2.Status(code=code_pb2.INTERNAL, message="internal error", details=[info])


def _bad_request(violations: tuple[Violation, ...]) -> details_pb2.BadRequest:
    """As many of the violations as fit; the last entry counts the rest."""
    request = details_pb2.BadRequest()
    for place, violation in enumerate(violations):
        request.field_violations.add(field=violation.field, description=violation.rule)
        if request.ByteSize() > _DETAIL_BYTES:
            del request.field_violations[-1]
            rest = len(violations) - place
            request.field_violations.add(description=f"and {rest} more; cure these to see them")
            break
    return request


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 3]}..."
