"""Errors become google.rpc.Status here and nowhere else; so do bugs, without their details.

Careful: `context.abort_with_status` raises a bare Exception, so a servicer that
aborts by itself would be taken for a bug. Servicers raise our errors instead.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any, NoReturn, TypeAlias

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


def handlers(
    ask: Callable[[str, bytes], Any],
    service: ServiceDescriptor,
    late: Callable[[], bool],
    observe: Observer | None = None,
) -> dict[str, _Handler]:
    """How to run each unary call of a service: maps its errors, hides its bugs, logs one line.

    Where calls are logged, the trailing metadata tell the name of each to whoever gave it one, and
    of those that fail to everybody.

    Args:
        ask: Takes the name of a method and a request, and returns the serialised reply as `contents`.
        service: Names the methods and their messages.
        late: Whether the call that this thread is at has waited too long.
        observe: Told of every call's method, code, seconds, reply and context, besides the log.

    Returns:
        Path ("/package.Service/Method") -> handler.
    """
    return {
        f"/{service.full_name}/{method.name}": _handler(
            f"/{service.full_name}/{method.name}", partial(ask, method.name), late, observe
        )
        for method in service.methods
    }


def _handler(
    path: str,
    ask: Callable[[bytes], Any],
    late: Callable[[], bool],
    observe: Observer | None,
) -> _Handler:
    def take_down(code: str, started: float, reply: Any, name: str, context: grpc.ServicerContext) -> None:
        seconds = time.perf_counter() - started
        log_answer(path, code, seconds, reply, name)
        if observe is not None:
            observe(path, code, seconds, reply, context)

    def answer(request: bytes, context: grpc.ServicerContext) -> Any:
        started = time.perf_counter()
        name, wanted = request_id(context.invocation_metadata()) if logs_answers() else ("", False)
        try:
            remaining = context.time_remaining()
            if not context.is_active() or (remaining is not None and remaining <= 0):
                raise DeadlinePassedError
            if late():
                raise OverloadedError
            reply = ask(request)
        except Exception as error:
            status = _status_of(error)
            take_down(code_pb2.Code.Name(status.code), started, None, name, context)
        else:
            take_down("OK", started, reply, name, context)
            if wanted:
                context.set_trailing_metadata(((HEADER, name),))
            return reply
        ending: Any = rpc_status.to_status(status)
        if name:
            ending = ending._replace(trailing_metadata=(*ending.trailing_metadata, (HEADER, name)))
        return context.abort_with_status(ending)

    return grpc.unary_unary_rpc_method_handler(answer, response_serializer=attrgetter("contents"))


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
