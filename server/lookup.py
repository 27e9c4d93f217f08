"""Understands titles, and says in one line what went wrong: the client behind `query`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import grpc

from deepmoviematch.client import CallError, Client
from deepmoviematch.v1 import recommender_pb2 as pb

from .errors import QueryError
from .reach import Reach

TIMEOUT_S = 20.0

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


@dataclass(frozen=True)
class Resolved:
    """The item that a text means."""

    item: pb.Recommendation

    others: int
    """How many other items have that very title; the most popular one was taken."""

    scale: pb.RatingScale
    """What a rating of it may be."""


class Lookup:
    """Asks one server; every failure is a `QueryError`."""

    def __init__(self, client: Client, address: str) -> None:
        self._client = client
        self._address = address

    def recommend(self, request: pb.RecommendRequest) -> pb.RecommendResponse:
        """Ask for the best items for a user."""
        return self._call(self._client.recommend, request)

    def similar(self, request: pb.SimilarItemsRequest) -> pb.SimilarItemsResponse:
        """Ask for the items nearest to an item."""
        return self._call(self._client.similar_items, request)

    def embed(self, request: pb.EmbedUserRequest) -> pb.EmbedUserResponse:
        """Ask where a user is."""
        return self._call(self._client.embed_user, request)

    def find(self, text: str, page_size: int = 0) -> pb.FindItemsResponse:
        """Look items up by id or title."""
        return self._call(self._client.find_items, pb.FindItemsRequest(title=text, page_size=page_size))

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

    def _call(self, call: Callable[[_Request], _Response], request: _Request) -> _Response:
        try:
            return call(request)
        except CallError as error:
            raise QueryError(_explained(error, self._address)) from error


@contextmanager
def connected(reach: Reach | str) -> Iterator[Lookup]:
    """Titles and answers from the server at an address ("host:port"), closed at the end."""
    reach = Reach(reach) if isinstance(reach, str) else reach
    with Client(
        reach.address,
        credentials=reach.credentials,
        api_key=reach.api_key,
        timeout_s=TIMEOUT_S,
        wait=False,
    ) as client:
        yield Lookup(client, reach.address)


def label(item: pb.Recommendation) -> str:
    """An item for people: "Heat (1995) [6]"."""
    year = f" ({item.year})" if item.year else ""
    return f"{item.title}{year} [{item.item_id}]"


def _explained(error: CallError, address: str) -> str:
    """One line: what the server said, or that there is none."""
    if error.reason or error.violations:
        return error.message
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return f"a server must answer at {address}, got none; start one (make serve) or say --at"
    return f"the server at {address} answered {error.code.name}: {error.message}"
