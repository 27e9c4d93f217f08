"""Errors become google.rpc.Status here and nowhere else; so do bugs, without their details."""

import logging
import math
from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2 as details_pb2, status_pb2
from grpc_status import rpc_status

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.server.errors import (
    CallerLeftError,
    DeadlinePassedError,
    GenerationGoneError,
    GenerationLoadingError,
    InvalidRequestError,
    NotReadyError,
    OverloadedError,
    RateError,
    StoppingError,
    TitlesLoadingError,
    UnknownCallerError,
    UnknownItemError,
    Violation,
)

DOMAIN = "deepmoviematch"
RETRY_S = 1
"""How long a caller should wait before asking again, at least."""

LONGEST_RETRY_S = 315_576_000_000
"""The most that a google.protobuf.Duration can say."""

_RETRIED: dict[type[MovieMatchError], tuple[int, str]] = {
    NotReadyError: (code_pb2.UNAVAILABLE, "NO_GENERATION"),
    StoppingError: (code_pb2.UNAVAILABLE, "STOPPING"),
    GenerationLoadingError: (code_pb2.UNAVAILABLE, "GENERATION_LOADING"),
    TitlesLoadingError: (code_pb2.UNAVAILABLE, "TITLES_LOADING"),
    OverloadedError: (code_pb2.RESOURCE_EXHAUSTED, "OVERLOADED"),
    RateError: (code_pb2.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
}
"""Code and reason of what passes by itself."""

_FINAL: dict[type[MovieMatchError], tuple[int, str]] = {
    CallerLeftError: (code_pb2.CANCELLED, "CANCELLED"),
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
        retry.retry_delay.FromSeconds(retry_s(error))
        return _status(*_RETRIED[type(error)], error, retry)
    log.error("no status code is defined for this error", exc_info=error)
    return internal()


def retry_s(error: MovieMatchError) -> int:
    """How many seconds to wait before asking again, if that helps at all; rounded up."""
    wait_s = error.wait_s if isinstance(error, RateError) else RETRY_S
    return max(RETRY_S, math.ceil(min(wait_s, LONGEST_RETRY_S)))


def internal() -> status_pb2.Status:
    """What the caller is told of a bug."""
    info = AnyMessage()
    info.Pack(details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN))
    return status_pb2.Status(code=code_pb2.INTERNAL, message="internal error", details=[info])


def abort(context: grpc.ServicerContext, error: MovieMatchError) -> NoReturn:
    """End a call of a service that has no `handlers`."""
    context.abort_with_status(rpc_status.to_status(to_status(error)))


def _status(code: int, reason: str, error: MovieMatchError, *details: Message) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=_cut(str(error), _MESSAGE_CHARACTERS))
    info = details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    for detail in (info, *details):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


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
