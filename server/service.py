"""The way of a request: read it, ask the recommender, pack the answer.

Each method takes hold of one recommender, and so of one generation, and keeps to
it. Refusals are raised as our own errors; `status` turns them into codes.
"""

import grpc

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.v1 import recommender_pb2 as pb, recommender_pb2_grpc as rpc

from .current import Current
from .errors import InvalidRequestError
from .recommender import Recommender
from .requests import RecommendQuery, check_batch, read_embed, read_find, read_recommend, read_similar
from .status import to_status
from .wire import Replies, Reply

NAME: str = pb.DESCRIPTOR.services_by_name["RecommenderService"].full_name


class RecommenderService(rpc.RecommenderServiceServicer):
    """Holds nothing but the current generation's answers, so any number of threads may share one.

    Its methods return replies that are serialised already.
    """

    def __init__(self, current: Current) -> None:
        self._current = current
        self._latest: Replies | None = None

    def Recommend(  # type: ignore[override]  # noqa: N802 - the contract's name
        self, request: pb.RecommendRequest, context: grpc.ServicerContext
    ) -> Reply:
        """See recommender.proto."""
        replies = self._replies()
        taste, missing = read_recommend(request, replies.recommender)
        return replies.reply(replies.recommender.recommend(taste), missing)

    def BatchRecommend(  # type: ignore[override]  # noqa: N802
        self, request: pb.BatchRecommendRequest, context: grpc.ServicerContext
    ) -> Reply:
        """See recommender.proto."""
        replies = self._replies()
        recommender = replies.recommender
        check_batch(request)
        queries = [_read_or_refusal(each, recommender) for each in request.requests]
        tastes = [query.taste for query in queries if isinstance(query, RecommendQuery)]
        answers = iter(recommender.recommend_batch(tastes))
        return replies.batch(
            [
                replies.reply(next(answers), query.missing)
                if isinstance(query, RecommendQuery)
                else replies.refusal(to_status(query))
                for query in queries
            ]
        )

    def SimilarItems(  # type: ignore[override]  # noqa: N802
        self, request: pb.SimilarItemsRequest, context: grpc.ServicerContext
    ) -> Reply:
        """See recommender.proto."""
        replies = self._replies()
        seeds, limit, excluded, allowed, missing = read_similar(request, replies.recommender)
        usual = len(seeds.positive) == 1 and allowed is None
        if usual and not (excluded or missing or seeds.negative):
            return replies.similar(seeds.positive[0], limit)
        return replies.reply(replies.recommender.similar(seeds, limit, excluded, allowed), missing)

    def FindItems(  # type: ignore[override]  # noqa: N802
        self, request: pb.FindItemsRequest, context: grpc.ServicerContext
    ) -> Reply:
        """See recommender.proto."""
        replies = self._replies()
        answer = replies.recommender.find(*read_find(request))
        scale = replies.recommender.generation.scale
        rest = pb.FindItemsResponse(rating_scale=pb.RatingScale(low=scale.floor, top=scale.top))
        return replies.reply(answer, rest=rest)

    def EmbedUser(  # type: ignore[override]  # noqa: N802
        self, request: pb.EmbedUserRequest, context: grpc.ServicerContext
    ) -> Reply:
        """See recommender.proto."""
        replies = self._replies()
        taste, missing = read_embed(request, replies.recommender)
        return replies.place(replies.recommender.embed(taste), missing)

    def _replies(self) -> Replies:
        """Those of the current generation, for the whole of a request."""
        recommender, latest = self._current.get(), self._latest
        if latest is None or latest.recommender is not recommender:
            latest = self._latest = Replies(recommender)
        return latest


def _read_or_refusal(
    request: pb.RecommendRequest, recommender: Recommender
) -> RecommendQuery | MovieMatchError:
    try:
        return read_recommend(request, recommender)
    except InvalidRequestError as error:
        return error
