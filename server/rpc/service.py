"""The way of a request: read it, ask the recommender, pack the answer.

Each method takes hold of one recommender, and so of one generation, and keeps to
it: the current one, or that of the page token. What it answers depends on the request and the
generation alone, so a reply is kept for whoever sends the same bytes again. Refusals are raised
as our own errors; `status` turns them into codes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.ranking.explanation import Explanation, explain
from deepmoviematch.server.ranking.recommender import Answer
from deepmoviematch.server.rpc.batch import check_batch
from deepmoviematch.server.rpc.checks import Start
from deepmoviematch.server.rpc.malformed import Malformed, lenient
from deepmoviematch.server.rpc.replies import Replies, Reply
from deepmoviematch.server.rpc.requests import (
    RecommendQuery,
    read_embed,
    read_find,
    read_recommend,
    read_similar,
)
from deepmoviematch.server.rpc.status import to_status
from deepmoviematch.server.rpc.tokens import Mark, Tokens
from deepmoviematch.v1 import recommender_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["RecommenderService"]
NAME: str = SERVICE.full_name


class RecommenderService:
    """Holds nothing but the current generation's answers, so any number of threads may share one."""

    def __init__(self, current: Current, tokens: Tokens, *, keeps: int = 0) -> None:
        """Answer from what `current` holds, and have up to `keeps` replies at hand."""
        self._current, self._tokens, self._keeps = current, tokens, keeps
        self._latest: Replies | None = None
        self._methods: dict[str, tuple[Callable[[bytes], Any], Callable[[Any, Replies], Reply]]] = {
            method.name: (lenient(GetMessageClass(method.input_type)), getattr(self, method.name))
            for method in SERVICE.methods
        }

    def ask(self, method: str, contents: bytes) -> Reply:
        """The reply to a request, given the method's name and the bytes of its message.

        Raises:
            InvalidRequestError: If the bytes are no message of the method; the method has more to say.
        """
        asked = method, contents
        latest = self._replies()
        reply = latest.kept(asked)
        if reply is None:
            read, answer = self._methods[method]
            request = read(contents)
            if isinstance(request, Malformed):
                raise request.error()
            reply = answer(request, latest)
            latest.keep(asked, reply)
        return reply

    def Recommend(self, request: pb.RecommendRequest, latest: Replies) -> Reply:  # noqa: N802 - the contract's names
        """See recommender.proto."""
        replies, start = self._opened(request, latest)
        query = read_recommend(request, replies.recommender, start)
        answer = replies.recommender.recommend(query.taste, query.listing)
        return self._recommended(request, replies, query, answer)

    def BatchRecommend(self, request: pb.BatchRecommendRequest, latest: Replies) -> Reply:  # noqa: N802
        """See recommender.proto."""
        check_batch(request)
        read = [self._read_or_refusal(each, latest) for each in request.requests]
        # Whoever goes on with pages of an older generation is answered alone.
        together = [each[1] for each in read if isinstance(each, tuple) and each[0] is latest]
        answers = iter(latest.recommender.recommend_batch([(each.taste, each.listing) for each in together]))
        parts = []
        for each, found in zip(request.requests, read, strict=True):
            if isinstance(found, MovieMatchError):
                parts.append(latest.refusal(to_status(found)))
                continue
            replies, query = found
            here = replies is latest
            answer = next(answers) if here else replies.recommender.recommend(query.taste, query.listing)
            parts.append(self._recommended(each, replies, query, answer))
        reply = latest.batch(parts)
        # Other generations, which pages may be of, come and go.
        return reply._replace(lasting=not any(each.page_token for each in request.requests))

    def SimilarItems(self, request: pb.SimilarItemsRequest, latest: Replies) -> Reply:  # noqa: N802
        """See recommender.proto."""
        replies, start = self._opened(request, latest)
        seeds, listing, missing = read_similar(request, replies.recommender, start)
        return self._reply(request, replies, replies.recommender.similar(seeds, listing), missing)

    def FindItems(self, request: pb.FindItemsRequest, latest: Replies) -> Reply:  # noqa: N802
        """See recommender.proto."""
        replies, start = self._opened(request, latest)
        recommender = replies.recommender
        answer = recommender.find(*read_find(request, start))
        scale = recommender.generation.scale
        rest = pb.FindItemsResponse(rating_scale=pb.RatingScale(low=scale.floor, top=scale.top))
        return self._reply(request, replies, answer, rest=rest)

    def EmbedUser(self, request: pb.EmbedUserRequest, latest: Replies) -> Reply:  # noqa: N802
        """See recommender.proto."""
        query = read_embed(request, latest.recommender)
        return latest.place(latest.recommender.embed(query.taste), query.missing)

    def _replies(self) -> Replies:
        """Those of the current generation."""
        recommender, latest = self._current.get(), self._latest
        if latest is None or latest.recommender is not recommender:
            latest = self._latest = Replies(recommender, self._keeps)
        return latest

    def _opened(self, request: Any, latest: Replies) -> tuple[Replies, Start]:
        """What answers a request, from beginning to end, and where it goes on."""
        if not request.page_token:
            return latest, None
        start = self._tokens.open(request)
        if not isinstance(start, Mark):
            return latest, start
        recommender = self._current.get(start.generation_id)
        return latest if recommender is latest.recommender else Replies(recommender), start

    def _read_or_refusal(
        self, request: pb.RecommendRequest, latest: Replies
    ) -> tuple[Replies, RecommendQuery] | MovieMatchError:
        try:
            replies, start = self._opened(request, latest)
            return replies, read_recommend(request, replies.recommender, start)
        except MovieMatchError as error:
            return error

    def _recommended(
        self, request: pb.RecommendRequest, replies: Replies, query: RecommendQuery, answer: Answer
    ) -> Reply:
        """The reply with `answer` and predicted ratings, explained where that is asked for."""
        if query.notes and answer.plan is not None:
            plan = answer.plan._replace(notes=[*answer.plan.notes, *query.notes])
            answer = answer._replace(plan=plan)
        generation = replies.recommender.generation
        head = generation.rating_head
        ratings = head.predict(query.taste.history, answer.rows) if head is not None and answer.rows else ()
        reasons = explain(generation, query.taste, answer) if request.explain else ()
        return self._reply(request, replies, answer, query.missing, ratings=ratings, explanations=reasons)

    def _reply(
        self,
        request: Any,
        replies: Replies,
        answer: Answer,
        missing: Sequence[str] = (),
        *,
        ratings: Sequence[float] = (),
        explanations: Sequence[Explanation] = (),
        rest: Message | None = None,
    ) -> Reply:
        """The reply with `answer`, and the token for the next page if there is one."""
        token = b""
        if answer.rows and not answer.exhausted:
            name = replies.recommender.generation.id
            token = self._tokens.seal(Mark(name, answer.start + len(answer.rows), answer.ahead), request)
        return replies.reply(answer, missing, token, ratings=ratings, explanations=explanations, rest=rest)
