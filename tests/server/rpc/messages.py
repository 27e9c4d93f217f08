"""Requests as tests put them, and what they read of answers."""

from types import SimpleNamespace
from typing import Any

from google.protobuf.message import Message
from google.rpc import error_details_pb2
from hypothesis import strategies as st

from deepmoviematch.v1 import recommender_pb2 as pb

NAN, INF = float("nan"), float("inf")
LONG = "x" * 257
"""An id that is too long."""

item_ids = st.sampled_from(["1", "50", "6", "7", "300", "m3", "nope", "", "x" * 300])
numbers = st.sampled_from([0.0, 0.5, 3.5, 5.0, 5.5, NAN, INF, -1.0])
requests = st.builds(
    pb.RecommendRequest,
    user=st.builds(
        pb.UserFeatures,
        genre_preferences=st.dictionaries(
            st.sampled_from(["Comedy", "comedy", "Sci-Fi", "no"]), numbers, max_size=3
        ),
        history=st.lists(st.builds(pb.Interaction, item_id=item_ids, rating=st.none() | numbers), max_size=5),
        context=st.none()
        | st.builds(
            pb.Context,
            hour=st.sampled_from([None, 0, 23, 24, -(2**31)]),
            weekday=st.sampled_from([0, 1, 7, 7, 8]),
            device=st.sampled_from(["", "tv", " Phone ", "toaster", LONG]),
        ),
    ),
    page_size=st.sampled_from([-1, 0, 1, 3, 30, 2**31 - 1]),
    exclude_item_ids=st.lists(item_ids, max_size=4),
    include_history=st.booleans(),
    candidate_item_ids=st.just([]) | st.lists(item_ids, max_size=6),
)


def user(**fields: Any) -> pb.RecommendRequest:
    return pb.RecommendRequest(user=pb.UserFeatures(**fields))


def seen(*items: str, **fields: Any) -> pb.RecommendRequest:
    history = [pb.Interaction(item_id=item) for item in items]
    return pb.RecommendRequest(user=pb.UserFeatures(history=history), **fields)


def rated(*ratings: float) -> pb.RecommendRequest:
    return user(history=[pb.Interaction(item_id="6", rating=rating) for rating in ratings])


def ids(response: Any) -> list[str]:
    return [item.item_id for item in response.results]


def told(response: Any) -> Any:
    """The response without its token, which depends on how the request was spelt."""
    response.ClearField("next_page_token")
    return response


def method_for(running: SimpleNamespace, request: Message) -> Any:
    methods = {
        pb.RecommendRequest: running.stub.Recommend,
        pb.BatchRecommendRequest: running.stub.BatchRecommend,
        pb.SimilarItemsRequest: running.stub.SimilarItems,
        pb.FindItemsRequest: running.stub.FindItems,
        pb.EmbedUserRequest: running.stub.EmbedUser,
    }
    return methods[type(request)]


def details(status: Any, kind: type[Any]) -> Any:
    [found] = [detail for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    message = kind()
    found.Unpack(message)
    return message


def fields(status: Any) -> list[str]:
    return [each.field for each in details(status, error_details_pb2.BadRequest).field_violations]
