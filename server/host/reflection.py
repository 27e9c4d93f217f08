"""The standard reflection service: tells callers what the services look like."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from deepmoviematch.server.host.health import HEALTH_NAME
from deepmoviematch.server.rpc.malformed import Malformed, lenient
from deepmoviematch.server.rpc.service import NAME
from deepmoviematch.server.rpc.status import abort

REFLECTION_NAME: str = reflection.SERVICE_NAME


class Reflection(reflection.ReflectionServicer):
    """gRPC's own, on threads of its own: its streams last as long as their callers like."""

    def __init__(self) -> None:
        super().__init__((NAME, HEALTH_NAME, REFLECTION_NAME))

    def ServerReflectionInfo(  # noqa: N802
        self, request_iterator: Iterable[Any], context: Any
    ) -> Any:
        """See reflection.proto; the stream ends with the first request that is none."""
        return super().ServerReflectionInfo(_well_formed(request_iterator, context), context)

    ServerReflectionInfo.experimental_thread_pool = ThreadPoolExecutor(2)  # type: ignore[attr-defined]

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server needs in order to answer."""
        info = grpc.stream_stream_rpc_method_handler(
            self.ServerReflectionInfo,
            request_deserializer=lenient(reflection_pb2.ServerReflectionRequest),
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(REFLECTION_NAME, {"ServerReflectionInfo": info})


def _well_formed(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    for request in requests:
        if isinstance(request, Malformed):
            abort(context, request.error())
        yield request
