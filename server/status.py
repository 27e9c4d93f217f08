"""Errors become google.rpc.Status here and nowhere else; so do bugs, without their details.

Careful: `context.abort_with_status` raises a bare Exception, so a servicer that
aborts by itself would be taken for a bug. Servicers raise our errors instead.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2 as details_pb2, status_pb2
from grpc_status import rpc_status

from deepmoviematch.data.errors import MovieMatchError

from .errors import (
    DeadlinePassedError,
    InvalidRequestError,
    NotReadyError,
    UnknownItemError,
    Violation,
)
from .logs import log_answer

DOMAIN = "deepmoviematch"
RETRY_S = 1
"""How long to wait for a first generation before asking again."""

_MESSAGE_CHARACTERS = 200
_DETAIL_BYTES = 3000
"""Status travels in HTTP/2 trailers, of which many clients take 8 KiB."""

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"

log = logging.getLogger(__name__)


def to_status(error: MovieMatchError) -> status_pb2.Status:
    """What the caller is told of `error`."""
    match error:
        case InvalidRequestError():
            request = _bad_request(error.violations)
            return _status(code_pb2.INVALID_ARGUMENT, error, "INVALID_REQUEST", request)
        case UnknownItemError():
            item = details_pb2.ResourceInfo(resource_type="item", resource_name=error.item_id)
            return _status(code_pb2.NOT_FOUND, error, "ITEM_NOT_FOUND", item)
        case NotReadyError():
            retry = details_pb2.RetryInfo()
            retry.retry_delay.FromSeconds(RETRY_S)
            return _status(code_pb2.UNAVAILABLE, error, "NO_GENERATION", retry)
        case DeadlinePassedError():
            return _status(code_pb2.DEADLINE_EXCEEDED, error, "DEADLINE_PASSED")
    log.error("no status code is defined for this error", exc_info=error)
    return _internal()


class StatusInterceptor(grpc.ServerInterceptor):
    """Runs every unary call: maps its errors, hides its bugs, logs one line."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], _Handler],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """See `grpc.ServerInterceptor`; streams (health Watch, reflection) pass through."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method, behave = handler_call_details.method, handler.unary_unary

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            started = time.perf_counter()
            response, status = _answered(behave, request, context)
            log_answer(method, code_pb2.Code.Name(status.code), time.perf_counter() - started, response)
            if status.code != code_pb2.OK:
                context.abort_with_status(rpc_status.to_status(status))
            return response

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=_lenient(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )


def _answered(
    behave: Callable[[Any, grpc.ServicerContext], Any], request: Any, context: grpc.ServicerContext
) -> tuple[Message | None, status_pb2.Status]:
    """The response, if any, and the status to end the call with."""
    try:
        if isinstance(request, _Malformed):
            raise InvalidRequestError([Violation("request", f"must be a {request.expected} message")])
        remaining = context.time_remaining()
        if not context.is_active() or (remaining is not None and remaining <= 0):
            raise DeadlinePassedError
        return behave(request, context), status_pb2.Status(code=code_pb2.OK)
    except MovieMatchError as error:
        return None, to_status(error)
    except Exception:
        log.exception("a bug in answering a request")
        return None, _internal()


@dataclass(frozen=True)
class _Malformed:
    """Stands for a request whose bytes are no message of its type."""

    expected: str


def _lenient(deserialise: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """`deserialise`, but bytes that are no message give `_Malformed`: gRPC would call them INTERNAL."""
    if deserialise is None:
        return None

    def read(contents: bytes) -> Any:
        try:
            return deserialise(contents)
        except DecodeError:
            return _Malformed(getattr(deserialise, "__qualname__", "protobuf").partition(".")[0])

    return read


def _status(code: int, error: MovieMatchError, reason: str, *details: Message) -> status_pb2.Status:
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
