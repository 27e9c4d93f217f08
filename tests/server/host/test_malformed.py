"""Bytes that are no message are the caller's fault, whatever service they are sent to."""

from types import SimpleNamespace
from typing import Any

import grpc
import pytest

GARBAGE = {"no tag": b"\xff", "cut short": b"\x0a\x05ab", "no UTF-8": b"\x0a\x01\xff"}
PATHS = (
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
WAIT_S = 10


@pytest.mark.parametrize("contents", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("path", PATHS)
def test_bytes_that_are_no_message_are_an_invalid_argument(
    running: SimpleNamespace, path: str, contents: bytes
) -> None:
    call: Any = running.channel.stream_stream(path)  # as which any call may be made
    with pytest.raises(grpc.RpcError) as caught:
        next(call(iter([contents]), timeout=WAIT_S))
    ended: Any = caught.value
    assert ended.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "must be a " in ended.details()
