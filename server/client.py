"""A client that retries, understands titles, and says in one line what went wrong."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from deepmoviematch.v1 import recommender_pb2 as pb, recommender_pb2_grpc as rpc

from .errors import QueryError

TIMEOUT_S = 20.0

SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "deepmoviematch.v1.RecommenderService"}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    }
)
"""What callers in any language should give their channel: only UNAVAILABLE is worth a retry."""

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)
_Method: TypeAlias = "grpc.UnaryUnaryMultiCallable[_Request, _Response]"


@dataclass(frozen=True)
class Resolved:
    """The item that a text means."""

    item: pb.Recommendation

    others: int
    """How many other items have that very title; the most popular one was taken."""

    scale: pb.RatingScale
    """What a rating of it may be."""


class Client:
    """Asks one server; every failure is a `QueryError`."""

    def __init__(self, channel: grpc.Channel, address: str) -> None:
        self._stub = rpc.RecommenderServiceStub(channel)
        self._address = address

    def recommend(self, request: pb.RecommendRequest) -> pb.RecommendResponse:
        """Ask for the best items for a user."""
        return self._call(self._stub.Recommend, request)

    def similar(self, request: pb.SimilarItemsRequest) -> pb.SimilarItemsResponse:
        """Ask for the items nearest to an item."""
        return self._call(self._stub.SimilarItems, request)

    def find(self, text: str, page_size: int = 0) -> pb.FindItemsResponse:
        """Look items up by id or title."""
        return self._call(self._stub.FindItems, pb.FindItemsRequest(title=text, page_size=page_size))

    def resolve(self, text: str) -> Resolved:
        """The item that `text` means: the one with that id, else with that very title.

        Raises:
            QueryError: If there is none; the message lists what comes near.
        """
        response = self.find(text)
        found, scale = response.results, response.rating_scale
        whole = [item for item in found if item.score == 1]
        if found and found[0].item_id == text:
            return Resolved(found[0], others=0, scale=scale)
        if whole:
            return Resolved(whole[0], others=len(whole) - 1, scale=scale)
        cure = (
            f"did you mean {', '.join(map(label, found))}?" if found else "look for words of it: query find"
        )
        raise QueryError(f"an item must be named by its id or whole title, got {text!r}; {cure}")

    def _call(self, method: "_Method[_Request, _Response]", request: _Request) -> _Response:
        try:
            return method(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            raise QueryError(_explained(error, self._address)) from error


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the server at `address` ("host:port"), closed at the end."""
    options = [("grpc.service_config", SERVICE_CONFIG), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options=options) as channel:
        yield Client(channel, address)


def label(item: pb.Recommendation) -> str:
    """An item for people: "Heat (1995) [6]"."""
    year = f" ({item.year})" if item.year else ""
    return f"{item.title}{year} [{item.item_id}]"


def _explained(error: Any, address: str) -> str:
    """One line: what the server said, or that there is none.

    `error` is a `grpc.RpcError`, which gRPC's types do not say is a `grpc.Call` too.
    """
    status = rpc_status.from_call(error)
    if status is None:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return f"a server must answer at {address}, got none; start one (make serve) or say --address"
        return f"the server at {address} answered {error.code().name}: {error.details()}"
    for detail in status.details:
        request = error_details_pb2.BadRequest()
        if detail.Unpack(request):
            violations = request.field_violations
            return "; ".join(f"{each.field} {each.description}".strip() for each in violations)
    return str(status.message)
