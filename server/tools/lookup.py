"""Understands titles, and says in one line what went wrong: the client behind `query`."""

import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import grpc

from deepmoviematch.client import CallError, Client
from deepmoviematch.server.errors import QueryError
from deepmoviematch.server.tools.reach import CURE, Reach
from deepmoviematch.v1 import recommender_pb2 as pb

TIMEOUT_S = 20.0

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


@dataclass(frozen=True)
class Resolved:
    """The item that a text means."""

    item: pb.Recommendation

    others: int
    """How many other items have that very title; the one with that id was taken, else the most popular."""

    scale: pb.RatingScale
    """What a rating of it may be."""


class Lookup:
    """Asks one server; every failure is a `QueryError`."""

    def __init__(self, client: Client, address: str) -> None:
        self._client = client
        self._address = address

    def recommend(self, request: pb.RecommendRequest, *, pages: int = 1) -> pb.RecommendResponse:
        """Ask for the best items for a user, so many pages of them at once."""
        return self._call(partial(self._joined, pages, pb.RecommendResponse), request)

    def similar(self, request: pb.SimilarItemsRequest, *, pages: int = 1) -> pb.SimilarItemsResponse:
        """Ask for the items nearest to others, so many pages of them at once."""
        return self._call(partial(self._joined, pages, pb.SimilarItemsResponse), request)

    def embed(self, request: pb.EmbedUserRequest) -> pb.EmbedUserResponse:
        """Ask where a user is."""
        return self._call(self._client.embed_user, request)

    def find(self, text: str, page_size: int = 0, *, pages: int = 1) -> pb.FindItemsResponse:
        """Look items up by id or title, so many pages of them at once."""
        request = pb.FindItemsRequest(title=text, page_size=page_size)
        return self._call(partial(self._joined, pages, pb.FindItemsResponse), request)

    def resolve(self, text: str) -> Resolved:
        """The item that `text` means: the one with that id, else with that very title.

        Raises:
            QueryError: If there is none; the message lists what comes near.
        """
        if not text:  # which the server would call a title that is at fault
            raise QueryError("an item must be named by its id or whole title, got none; name one")
        response = self.find(text)
        found, scale = response.results, response.rating_scale
        whole = [item for item in found if item.score == 1]
        if found and found[0].item_id == text:
            return Resolved(found[0], others=len(whole) - 1, scale=scale)
        if whole:
            return Resolved(whole[0], others=len(whole) - 1, scale=scale)
        cure = (
            f"did you mean {', '.join(map(label, found))}?" if found else "look for words of it: query find"
        )
        raise QueryError(f"an item must be named by its id or whole title, got {text!r}; {cure}")

    def _joined(self, pages: int, kind: Callable[..., _Response], request: Any) -> _Response:
        """The last of so many pages, with the results of all of them."""
        answers = [*islice(self._client.pages(request), pages)]
        others = {field.name: value for field, value in answers[-1].ListFields() if field.name != "results"}
        return kind(results=[item for answer in answers for item in answer.results], **others)

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


def titled(item: pb.Recommendation) -> str:
    """Title and year of an item, as far as it is known: "Heat (1995)"; its id where it has no title."""
    if not item.title:
        return item.item_id
    return f"{item.title} ({item.year})" if item.year else item.title


def label(item: pb.Recommendation) -> str:
    """An item for people: "Heat (1995) [6]"."""
    return plain(f"{titled(item)} [{item.item_id}]")


def plain(text: str) -> str:
    """`text` on one line, with nothing that a terminal obeys in place of showing it."""
    return "".join(map(_plain, text))


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    # Some scripts need the joiners, which move nothing.
    if not category.startswith(("C", "Zl", "Zp")) or character in "\u200c\u200d":
        return character
    return " " if character.isspace() else "\ufffd"


def _explained(error: CallError, address: str) -> str:
    """One line: what the server said, or that there is none."""
    if error.reason or error.violations:
        return error.message
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return f"a server must answer at {address}, got none; {CURE}"
    return f"the server at {address} answered {error.code.name}: {error.message}"
