"""The calls, typed, and what they raise."""

import itertools
from collections.abc import Callable, Iterator
from copy import deepcopy
from types import SimpleNamespace, TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from deepmoviematch.client.channel import open_channel
from deepmoviematch.v1 import recommender_pb2 as pb, recommender_pb2_grpc as rpc

TIMEOUT_S = 5.0

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)
_Paged: TypeAlias = pb.RecommendRequest | pb.SimilarItemsRequest | pb.FindItemsRequest
_Method: TypeAlias = "grpc.UnaryUnaryMultiCallable[_Request, _Response]"


class CallError(Exception):
    """A call that was not answered."""

    code: grpc.StatusCode
    """Only UNAVAILABLE has been tried again."""

    reason: str
    """Why, as a word for programs, such as "OVERLOADED"; empty if the server did not say."""

    retry_after_s: float | None
    """How long to wait before asking again, where that helps."""

    violations: dict[str, str]
    """Field of the request -> the rule that it breaks."""

    def __init__(self, error: Any) -> None:
        """Take a `grpc.RpcError`, which gRPC's types do not say is a `grpc.Call` too."""
        self.code, self.reason, self.retry_after_s, self.violations = error.code(), "", None, {}
        message = str(error.details())
        try:
            status = rpc_status.from_call(error)
        except (ValueError, DecodeError):  # something on the way has changed the message or the details
            status = None
        for detail in status.details if status else ():
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            request = error_details_pb2.BadRequest()
            if detail.Unpack(info):
                self.reason = info.reason
            elif detail.Unpack(retry):
                self.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
            elif detail.Unpack(request):
                self.violations = {each.field: each.description for each in request.field_violations}
                message = "; ".join(f"{field} {rule}".strip() for field, rule in self.violations.items())
        super().__init__(f"{self.code.name}: {message}")
        self.message = message


_CLOSED = SimpleNamespace(
    code=lambda: grpc.StatusCode.CANCELLED,
    details=lambda: "the client must be open, got a closed one; make another",
    trailing_metadata=lambda: None,
)
"""How a call ends that is begun on a closed client: as those that were under way."""


class Client:
    """Asks a recommendation server; any number of threads may share one."""

    _numbers = itertools.count()

    def __init__(
        self,
        address: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        api_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        wait: bool = True,
    ) -> None:
        """Prepare to ask; the connection is made with the first call.

        Args:
            address: "host:port"; all addresses of the host are used.
            credentials: For TLS, from `grpc.ssl_channel_credentials`; None speaks in the clear.
            api_key: What the server was told to expect, if it asks for a key.
            timeout_s: How long a call may take, with everything that is tried again.
            wait: Whether a call waits for a server that can be reached and says that it is healthy;
                else it asks whatever is there at once.
        """
        self._channel = open_channel(address, credentials, next(self._numbers), health=wait)
        self._stub = rpc.RecommenderServiceStub(self._channel)
        self._metadata = (("x-api-key", api_key),) if api_key is not None else ()
        self._timeout_s = timeout_s
        self._wait = wait

    def recommend(self, request: pb.RecommendRequest) -> pb.RecommendResponse:
        """Ask for the best items for a user.

        Raises:
            CallError: If there is no answer; so do the other calls.
        """
        return self._call(self._stub.Recommend, request)

    def batch_recommend(self, request: pb.BatchRecommendRequest) -> pb.BatchRecommendResponse:
        """Ask for many users at once; each response has a status of its own."""
        return self._call(self._stub.BatchRecommend, request)

    def similar_items(self, request: pb.SimilarItemsRequest) -> pb.SimilarItemsResponse:
        """Ask for the items nearest to an item."""
        return self._call(self._stub.SimilarItems, request)

    def find_items(self, request: pb.FindItemsRequest) -> pb.FindItemsResponse:
        """Look items up by title."""
        return self._call(self._stub.FindItems, request)

    def embed_user(self, request: pb.EmbedUserRequest) -> pb.EmbedUserResponse:
        """Ask where a user is in the embedding space."""
        return self._call(self._stub.EmbedUser, request)

    def pages(self, request: _Paged) -> Iterator[Any]:
        """Ask for page after page until nothing is left, each when it is wanted.

        All come from one generation, and have `page_size` results each but for the last. Whoever
        stops early asks for no more.

        Args:
            request: For recommend, similar_items or find_items; its `page_token`, if any, begins.

        Raises:
            CallError: If a page is not answered. With the reason GENERATION_GONE the walk cannot go
                on: begin again without a `page_token`.
        """
        calls: dict[type[Message], Callable[[Any], Any]] = {
            pb.RecommendRequest: self.recommend,
            pb.SimilarItemsRequest: self.similar_items,
            pb.FindItemsRequest: self.find_items,
        }
        request, call = deepcopy(request), calls[type(request)]
        while True:
            response = call(request)
            yield response
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def close(self) -> None:
        """Close the connections; calls under way end as CANCELLED, and so does what is asked later."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: "_Method[_Request, _Response]", request: _Request) -> _Response:
        try:
            return method(
                request,
                timeout=self._timeout_s,
                metadata=self._metadata,
                wait_for_ready=self._wait,
            )
        except grpc.RpcError as error:
            raise CallError(error) from None
        except ValueError:  # what gRPC raises on a channel that is closed, and nowhere else
            raise CallError(_CLOSED) from None
