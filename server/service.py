"""The way of a request: read it, ask the recommender, pack the answer.

Each method takes hold of one recommender, and so of one generation, and keeps to
it. Refusals are raised as our own errors; `status` turns them into codes.
"""

from collections.abc import Sequence

import grpc

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.data.tables import Catalogue
from deepmoviematch.v1 import recommender_pb2 as pb, recommender_pb2_grpc as rpc

from .current import Current
from .errors import InvalidRequestError
from .recommender import Answer, Origin, Recommender
from .requests import RecommendQuery, check_batch, read_find, read_recommend, read_similar
from .status import to_status

NAME: str = pb.DESCRIPTOR.services_by_name["RecommenderService"].full_name

_SOURCES = {
    Origin.RETRIEVAL: pb.SOURCE_RETRIEVAL,
    Origin.POPULARITY: pb.SOURCE_POPULARITY,
    Origin.LOOKUP: pb.SOURCE_LOOKUP,
}


class RecommenderService(rpc.RecommenderServiceServicer):
    """Holds nothing but the current recommender, so any number of threads may share one."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def Recommend(  # noqa: N802 - the contract's name
        self, request: pb.RecommendRequest, context: grpc.ServicerContext
    ) -> pb.RecommendResponse:
        """See recommender.proto."""
        recommender = self._current.get()
        query = read_recommend(request, recommender)
        [answer] = recommender.recommend([query.taste])
        return _recommended(query, answer, recommender)

    def BatchRecommend(  # noqa: N802
        self, request: pb.BatchRecommendRequest, context: grpc.ServicerContext
    ) -> pb.BatchRecommendResponse:
        """See recommender.proto."""
        recommender = self._current.get()
        check_batch(request)
        queries = [_read_or_refusal(each, recommender) for each in request.requests]
        good = [query for query in queries if isinstance(query, RecommendQuery)]
        answers = iter(recommender.recommend([query.taste for query in good]))
        return pb.BatchRecommendResponse(
            responses=[
                _recommended(query, next(answers), recommender)
                if isinstance(query, RecommendQuery)
                else pb.RecommendResponse(
                    status=to_status(query),
                    metadata=pb.ResponseMetadata(generation_id=recommender.generation.id),
                )
                for query in queries
            ]
        )

    def SimilarItems(  # noqa: N802
        self, request: pb.SimilarItemsRequest, context: grpc.ServicerContext
    ) -> pb.SimilarItemsResponse:
        """See recommender.proto."""
        recommender = self._current.get()
        query = read_similar(request, recommender)
        answer = recommender.similar(query.row, query.limit, query.excluded)
        return pb.SimilarItemsResponse(
            results=_results(answer, recommender.generation.catalogue),
            missing_item_ids=query.missing,
            metadata=_metadata(answer, recommender),
        )

    def FindItems(  # noqa: N802
        self, request: pb.FindItemsRequest, context: grpc.ServicerContext
    ) -> pb.FindItemsResponse:
        """See recommender.proto."""
        recommender = self._current.get()
        answer = recommender.find(*read_find(request))
        scale = recommender.generation.scale
        return pb.FindItemsResponse(
            results=_results(answer, recommender.generation.catalogue),
            metadata=_metadata(answer, recommender),
            rating_scale=pb.RatingScale(low=scale.floor, top=scale.top),
        )


def _read_or_refusal(
    request: pb.RecommendRequest, recommender: Recommender
) -> RecommendQuery | MovieMatchError:
    try:
        return read_recommend(request, recommender)
    except InvalidRequestError as error:
        return error


def _recommended(query: RecommendQuery, answer: Answer, recommender: Recommender) -> pb.RecommendResponse:
    return pb.RecommendResponse(
        results=_results(answer, recommender.generation.catalogue),
        missing_item_ids=query.missing,
        metadata=_metadata(answer, recommender),
    )


def _results(answer: Answer, catalogue: Catalogue) -> Sequence[pb.Recommendation]:
    return [
        pb.Recommendation(
            item_id=catalogue.item_ids[row],
            score=score,
            rank=rank,
            title=catalogue.titles[row],
            year=int(catalogue.years[row]),
            genres=catalogue.genres_of(row),
            source=_SOURCES[answer.origin],
        )
        for rank, (row, score) in enumerate(zip(answer.rows, answer.scores, strict=True), start=1)
    ]


def _metadata(answer: Answer, recommender: Recommender) -> pb.ResponseMetadata:
    searched = answer.origin is Origin.RETRIEVAL
    return pb.ResponseMetadata(
        generation_id=recommender.generation.id,
        search_mode=pb.SEARCH_MODE_EXACT if searched else pb.SEARCH_MODE_UNSPECIFIED,
        filtered_out=answer.filtered_out,
        exhausted=answer.exhausted,
        cold_start=answer.origin is Origin.POPULARITY,
    )
