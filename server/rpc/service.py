"""The way of a request: read it, ask the recommender, pack the answer.

Each call takes hold of what serves at one instant and keeps to it. A request is answered by one
generation: the current one, that of an experiment's variant, or that of the page token. What it
answers depends on the request and the generation alone, so a reply is kept for whoever sends the
same bytes again. Refusals are raised as our own errors; `status` turns them into codes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.message_factory import GetMessageClass

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.indexer.experiments import Variant
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.serving import Serving
from deepmoviematch.server.ranking.explanation import explain
from deepmoviematch.server.ranking.question import Answer
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.rpc.batch import check_batch
from deepmoviematch.server.rpc.checks import Start
from deepmoviematch.server.rpc.malformed import Malformed, lenient
from deepmoviematch.server.rpc.replies import Replies, Reply
from deepmoviematch.server.rpc.requests import (
    CHEAP_BYTES,
    RecommendQuery,
    SimilarQuery,
    is_cheap,
    read_embed,
    read_find,
    read_recommend,
    read_similar,
)
from deepmoviematch.server.rpc.status import to_status
from deepmoviematch.server.rpc.tokens import Cursor, Tokens
from deepmoviematch.v1 import recommender_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["RecommenderService"]
NAME: str = SERVICE.full_name


class _Now(NamedTuple):
    """What answers at one instant, and writes the replies."""

    serving: Serving

    replies: Mapping[Recommender, Replies]
    """Of each recommender that serves."""

    @property
    def latest(self) -> Replies:
        """Those of the current generation."""
        return self.replies[self.serving.recommender]

    def route(self, request: Any) -> tuple[Replies, Variant | None]:
        """Those of what the user of a request gets, and the variant that this is of the experiment."""
        name, variant = _experiment_of(request), None
        if name and request.user.user_id:
            variant = self.serving.variant_of(name, request.user.user_id)
        return self.replies[self.serving.answering(variant)], variant


class _Way(NamedTuple):
    """How requests for a ranking are answered, one of them or many."""

    read: Callable[[Any, Recommender, Start], Any]
    answer: Callable[[Recommender, Sequence[Any]], list[Answer]]
    pack: Callable[[Sequence[Any], Replies, Sequence[Any], Sequence[Answer]], list[Reply]]
    """Takes requests, replies, what was read and the answers."""


class RecommenderService:
    """Holds nothing but the answers of what serves, so any number of threads may share one."""

    def __init__(self, current: Current, tokens: Tokens, *, keeps: int = 0) -> None:
        """Answer from what `current` holds, and have up to `keeps` replies at hand."""
        self._current, self._tokens, self._keeps = current, tokens, keeps
        self._now: _Now | None = None
        self._ways = {
            "Recommend": _Way(read_recommend, _recommend, self._recommended),
            "SimilarItems": _Way(read_similar, _similar, self._alike),
        }
        self._methods: dict[str, tuple[Callable[[bytes], Any], Callable[[Any, _Now], Reply]]] = {
            method.name: (lenient(GetMessageClass(method.input_type)), getattr(self, method.name))
            for method in SERVICE.methods
        }

    @property
    def batchable(self) -> Collection[str]:
        """Names of the methods that `ask_many` knows."""
        return self._ways.keys()

    def is_cheap(self, contents: bytes) -> bool:
        """Whether `ask_many` takes no more than some tens of ms: request and search are not large."""
        now = self._now
        return len(contents) <= CHEAP_BYTES and now is not None and now.serving.recommender.is_cheap

    def ask(self, method: str, contents: bytes) -> Reply:
        """The reply to a request, given the method's name and the bytes of its message.

        Raises:
            InvalidRequestError: If the bytes are no message of the method; the method has more to say.
        """
        key = method, contents
        now = self._take_hold()
        reply = now.latest.kept(key)
        if reply is None:
            read, answer = self._methods[method]
            request = read(contents)
            if isinstance(request, Malformed):
                raise request.error()
            reply = answer(request, now)
            now.latest.keep(key, reply)
        return reply

    def ask_many(self, method: str, contents: Sequence[bytes]) -> list[Reply | MovieMatchError | None]:
        """What `ask` returns or raises for requests of one method; None for what is to be asked alone.

        That is whatever may take so long that others should not wait for it.
        """
        now = self._take_hold()
        latest = now.latest
        outcomes: list[Reply | MovieMatchError | None] = [latest.kept((method, each)) for each in contents]
        read, _ = self._methods[method]
        cheap = {
            place: request
            for place, kept in enumerate(outcomes)
            if kept is None and _is_soon_answered(request := read(contents[place]), now)
        }
        for place, outcome in zip(cheap, self._ranked(method, [*cheap.values()], now), strict=True):
            outcomes[place] = outcome
            if isinstance(outcome, Reply):
                latest.keep((method, contents[place]), outcome)
        return outcomes

    def Recommend(self, request: pb.RecommendRequest, now: _Now) -> Reply:  # noqa: N802 - the contract's names
        """See recommender.proto."""
        return self._ranked_alone("Recommend", request, now)

    def BatchRecommend(self, request: pb.BatchRecommendRequest, now: _Now) -> Reply:  # noqa: N802
        """See recommender.proto."""
        check_batch(request)
        outcomes = self._ranked("Recommend", request.requests, now)
        return now.latest.batch(
            [
                _refusal(asked, each, now) if isinstance(each, MovieMatchError) else each
                for asked, each in zip(request.requests, outcomes, strict=True)
            ]
        )

    def SimilarItems(self, request: pb.SimilarItemsRequest, now: _Now) -> Reply:  # noqa: N802
        """See recommender.proto."""
        return self._ranked_alone("SimilarItems", request, now)

    def FindItems(self, request: pb.FindItemsRequest, now: _Now) -> Reply:  # noqa: N802
        """See recommender.proto."""
        replies, start, _ = self._opened(request, now)
        recommender = replies.recommender
        answer = recommender.find(*read_find(request, start))
        scale = recommender.generation.scale
        rest = pb.FindItemsResponse(rating_scale=pb.RatingScale(low=scale.floor, top=scale.top))
        [token] = self._tokens_of([request], replies, [answer])
        return replies.reply(answer, token=token, rest=rest)

    def EmbedUser(self, request: pb.EmbedUserRequest, now: _Now) -> Reply:  # noqa: N802
        """See recommender.proto."""
        query = read_embed(request, now.serving.recommender)
        return now.latest.embedding(now.serving.recommender.embed(query.taste), query.missing)

    def _take_hold(self) -> _Now:
        """What answers now, with the replies of before for what has not changed."""
        serving, now = self._current.serving, self._now
        if now is None or now.serving is not serving:
            before = {} if now is None else now.replies
            recommenders = (serving.recommender, *serving.held.values())
            replies = {each: before.get(each) or Replies(each, self._keeps) for each in recommenders}
            now = self._now = _Now(serving, replies)
        return now

    def _opened(self, request: Any, now: _Now) -> tuple[Replies, Start, Variant | None]:
        """What answers a request, from beginning to end, where it goes on, and of which variant that is."""
        replies, variant = now.route(request)
        if not request.page_token:
            return replies, None, variant
        start = self._tokens.open(request)
        if not isinstance(start, Cursor) or start.generation_id == replies.recommender.generation.id:
            return replies, start, variant
        recommender = self._current.get(start.generation_id)
        return now.replies.get(recommender) or Replies(recommender), start, None

    def _ranked_alone(self, method: str, request: Any, now: _Now) -> Reply:
        """The reply to a request.

        Raises:
            MovieMatchError: If it is refused.
        """
        [outcome] = self._ranked(method, [request], now)
        if isinstance(outcome, MovieMatchError):
            raise outcome
        return outcome

    def _ranked(self, method: str, requests: Sequence[Any], now: _Now) -> list[Reply | MovieMatchError]:
        """The replies to requests of one method, or why they are refused; those of a generation together."""
        way = self._ways[method]
        outcomes: dict[int, Reply | MovieMatchError] = {}
        asked: dict[Replies, dict[int, Any]] = {}
        variants: dict[int, Variant | None] = {}
        for place, request in enumerate(requests):
            try:
                replies, start, variants[place] = self._opened(request, now)
                asked.setdefault(replies, {})[place] = way.read(request, replies.recommender, start)
            except MovieMatchError as error:
                outcomes[place] = error
        # One step for all, then the next: in turns they would take half as long again, for want of cache.
        for replies, queries in asked.items():
            read = [*queries.values()]
            answers = way.answer(replies.recommender, read)
            packed = way.pack([requests[place] for place in queries], replies, read, answers)
            for place, reply in zip(queries, packed, strict=True):
                outcomes[place] = _as_tried(reply, requests[place], variants[place])
        return [outcomes[place] for place in range(len(requests))]

    def _recommended(
        self,
        requests: Sequence[pb.RecommendRequest],
        replies: Replies,
        queries: Sequence[RecommendQuery],
        answers: Sequence[Answer],
    ) -> list[Reply]:
        """The replies with answers and predicted ratings, explained where that is asked for."""
        generation = replies.recommender.generation
        head = generation.rating_head
        ratings: Sequence[Sequence[float]] = [()] * len(answers)
        if head is not None:
            ratings = [
                head.predict(query.taste.history, answer.rows)
                for query, answer in zip(queries, answers, strict=True)
            ]
        tokens = self._tokens_of(requests, replies, answers)
        packed = []
        for request, query, answer, rated, token in zip(
            requests, queries, answers, ratings, tokens, strict=True
        ):
            reasons = explain(generation, query.taste, answer) if request.explain else ()
            packed.append(
                replies.reply(
                    _noted(answer, query.notes), query.missing, token, ratings=rated, explanations=reasons
                )
            )
        return packed

    def _alike(
        self,
        requests: Sequence[pb.SimilarItemsRequest],
        replies: Replies,
        queries: Sequence[SimilarQuery],
        answers: Sequence[Answer],
    ) -> list[Reply]:
        tokens = self._tokens_of(requests, replies, answers)
        return [
            replies.reply(_noted(answer, query.notes), query.missing, token)
            for query, answer, token in zip(queries, answers, tokens, strict=True)
        ]

    def _tokens_of(self, requests: Sequence[Any], replies: Replies, answers: Sequence[Answer]) -> list[bytes]:
        """The tokens for the pages that come next, empty where there is none."""
        name = replies.recommender.generation.id
        return [
            self._tokens.seal(Cursor(name, answer.start + len(answer.rows), answer.ahead), request)
            if answer.rows and not answer.exhausted
            else b""
            for request, answer in zip(requests, answers, strict=True)
        ]


def _experiment_of(request: Any) -> str:
    """The experiment that a request is part of; empty for none, and where there can be none."""
    return request.experiment if isinstance(request, pb.RecommendRequest) else ""


def _is_soon_answered(request: Any, now: _Now) -> bool:
    """Whether a request that is not large takes little time, by what its user gets."""
    recommender = now.route(request)[0].recommender
    return recommender.is_cheap and is_cheap(request, recommender)


def _as_tried(reply: Reply, request: Any, variant: Variant | None) -> Reply:
    """The reply, which says what its user got of an experiment, and lasts no longer than that may."""
    name = _experiment_of(request)
    return reply.as_part_of(name, variant and variant.name) if name else reply


def _refusal(request: pb.RecommendRequest, error: MovieMatchError, now: _Now) -> Reply:
    """The part of a batch that is at fault."""
    replies, variant = now.route(request)
    # Other generations, which pages may be of, come and go.
    reply = replies.refusal(to_status(error))._replace(lasting=not request.page_token)
    return _as_tried(reply, request, variant)._replace(trials=())  # of it nothing was tried


def _noted(answer: Answer, notes: Sequence[str]) -> Answer:
    """The answer, whose plan, if there is one, says what of the request is not heeded."""
    if not notes or answer.plan is None:
        return answer
    return answer._replace(plan=answer.plan._replace(notes=[*answer.plan.notes, *notes]))


def _recommend(recommender: Recommender, queries: Sequence[RecommendQuery]) -> list[Answer]:
    return recommender.recommend_batch([(query.taste, query.listing) for query in queries])


def _similar(recommender: Recommender, queries: Sequence[SimilarQuery]) -> list[Answer]:
    return recommender.similar_batch([(query.seeds, query.listing) for query in queries])
