"""The way of a request: read it, ask the recommender, pack the answer.

Each method takes hold of one recommender, and so of one generation, and keeps to
it: the current one, that of an experiment's variant, or that of the page token. What it answers
depends on the request and the generation alone, so a reply is kept for whoever sends the same bytes
again. Refusals are raised as our own errors; `status` turns them into codes.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from google.protobuf.message_factory import GetMessageClass

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.server.generations.arms import Arm, Arms
from deepmoviematch.server.generations.current import Current
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


class _Way(NamedTuple):
    """How requests for a ranking are answered, one of them or many."""

    read: Callable[[Any, Recommender, Start], Any]
    answer: Callable[[Recommender, Sequence[Any]], list[Answer]]
    pack: Callable[[Sequence[Any], Replies, Sequence[Any], Sequence[Answer]], list[Reply]]
    """Takes requests, replies, what was read and the answers."""


class _Variants(NamedTuple):
    """The replies of experiments' variants, for as long as neither these nor the generation change."""

    arms: Arms | None = None
    latest: Replies | None = None
    replies: dict[Arm, Replies] = {}  # noqa: RUF012 - never written to


class RecommenderService:
    """Holds nothing but the current generation's answers, so any number of threads may share one."""

    def __init__(self, current: Current, tokens: Tokens, *, keeps: int = 0) -> None:
        """Answer from what `current` holds, and have up to `keeps` replies at hand."""
        self._current, self._tokens, self._keeps = current, tokens, keeps
        self._latest: Replies | None = None
        self._variants = _Variants()
        self._ways = {
            "Recommend": _Way(read_recommend, _recommend, self._recommended),
            "SimilarItems": _Way(read_similar, _similar, self._alike),
        }
        self._methods: dict[str, tuple[Callable[[bytes], Any], Callable[[Any, Replies], Reply]]] = {
            method.name: (lenient(GetMessageClass(method.input_type)), getattr(self, method.name))
            for method in SERVICE.methods
        }

    @property
    def batchable(self) -> Collection[str]:
        """Names of the methods that `ask_many` knows."""
        return self._ways.keys()

    def is_cheap(self, contents: bytes) -> bool:
        """Whether `ask_many` takes no more than some tens of ms: request and search are not large."""
        latest = self._latest
        return len(contents) <= CHEAP_BYTES and latest is not None and latest.recommender.is_cheap

    def ask(self, method: str, contents: bytes) -> Reply:
        """The reply to a request, given the method's name and the bytes of its message.

        Raises:
            InvalidRequestError: If the bytes are no message of the method; the method has more to say.
        """
        key = method, contents
        latest = self._replies()
        reply = latest.kept(key)
        if reply is None:
            read, answer = self._methods[method]
            request = read(contents)
            if isinstance(request, Malformed):
                raise request.error()
            reply = answer(request, latest)
            latest.keep(key, reply)
        return reply

    def ask_many(self, method: str, contents: Sequence[bytes]) -> list[Reply | MovieMatchError | None]:
        """What `ask` returns or raises for requests of one method; None for what is to be asked alone.

        That is whatever may take so long that others should not wait for it.
        """
        latest = self._replies()
        outcomes: list[Reply | MovieMatchError | None] = [latest.kept((method, each)) for each in contents]
        read, _ = self._methods[method]
        cheap = {
            place: request
            for place, kept in enumerate(outcomes)
            if kept is None and self._is_cheap(request := read(contents[place]), latest)
        }
        for place, outcome in zip(cheap, self._ranked(method, [*cheap.values()], latest), strict=True):
            outcomes[place] = outcome
            if isinstance(outcome, Reply):
                latest.keep((method, contents[place]), outcome)
        return outcomes

    def Recommend(self, request: pb.RecommendRequest, latest: Replies) -> Reply:  # noqa: N802 - the contract's names
        """See recommender.proto."""
        return self._ranked_alone("Recommend", request, latest)

    def BatchRecommend(self, request: pb.BatchRecommendRequest, latest: Replies) -> Reply:  # noqa: N802
        """See recommender.proto."""
        check_batch(request)
        outcomes = self._ranked("Recommend", request.requests, latest)
        reply = latest.batch(
            [
                latest.refusal(to_status(each)) if isinstance(each, MovieMatchError) else each
                for each in outcomes
            ]
        )
        # Other generations, which pages and variants may be of, come and go.
        return reply._replace(
            lasting=not any(each.page_token or each.experiment for each in request.requests)
        )

    def SimilarItems(self, request: pb.SimilarItemsRequest, latest: Replies) -> Reply:  # noqa: N802
        """See recommender.proto."""
        return self._ranked_alone("SimilarItems", request, latest)

    def FindItems(self, request: pb.FindItemsRequest, latest: Replies) -> Reply:  # noqa: N802
        """See recommender.proto."""
        replies, start = self._opened(request, latest)
        recommender = replies.recommender
        answer = recommender.find(*read_find(request, start))
        scale = recommender.generation.scale
        rest = pb.FindItemsResponse(rating_scale=pb.RatingScale(low=scale.floor, top=scale.top))
        [token] = self._tokens_of([request], replies, [answer])
        return replies.reply(answer, token=token, rest=rest)

    def EmbedUser(self, request: pb.EmbedUserRequest, latest: Replies) -> Reply:  # noqa: N802
        """See recommender.proto."""
        query = read_embed(request, latest.recommender)
        return latest.embedding(latest.recommender.embed(query.taste), query.missing)

    def _replies(self) -> Replies:
        """Those of the current generation."""
        recommender, latest = self._current.get(), self._latest
        if latest is None or latest.recommender is not recommender:
            latest = self._latest = Replies(recommender, self._keeps)
        return latest

    def _opened(self, request: Any, latest: Replies) -> tuple[Replies, Start]:
        """What answers a request, from beginning to end, and where it goes on."""
        replies = self._of_user(request, latest)
        if not request.page_token:
            return replies, None
        start = self._tokens.open(request)
        if not isinstance(start, Cursor):
            return replies, start
        recommender = self._current.get(start.generation_id)
        return replies if recommender is replies.recommender else replies.of(recommender), start

    def _of_user(self, request: Any, latest: Replies) -> Replies:
        """Those of the generation that the user of a request gets: in an experiment, its variant's."""
        name = getattr(request, "experiment", "")
        if not name or not request.user.user_id:
            return latest
        arms, variants = self._current.arms, self._variants
        arm = arms.find(name, request.user.user_id)
        if arm is None:
            return latest
        if variants.arms is not arms or variants.latest is not latest:
            variants = self._variants = _Variants(arms, latest, {})
        found = variants.replies.get(arm)
        if found is None:
            found = variants.replies[arm] = Replies(
                arm.recommender or latest.recommender, experiment=arm.experiment, variant=arm.variant
            )
        return found

    def _is_cheap(self, request: Any, latest: Replies) -> bool:
        """Whether a request that is not large is soon answered by what its user gets."""
        recommender = self._of_user(request, latest).recommender
        return recommender.is_cheap and is_cheap(request, recommender)

    def _ranked_alone(self, method: str, request: Any, latest: Replies) -> Reply:
        """The reply to a request.

        Raises:
            MovieMatchError: If it is refused.
        """
        [outcome] = self._ranked(method, [request], latest)
        if isinstance(outcome, MovieMatchError):
            raise outcome
        return outcome

    def _ranked(self, method: str, requests: Sequence[Any], latest: Replies) -> list[Reply | MovieMatchError]:
        """The replies to requests of one method, or why they are refused; those of a generation together."""
        way = self._ways[method]
        outcomes: dict[int, Reply | MovieMatchError] = {}
        asked: dict[Replies, dict[int, Any]] = {}
        for place, request in enumerate(requests):
            try:
                replies, start = self._opened(request, latest)
                asked.setdefault(replies, {})[place] = way.read(request, replies.recommender, start)
            except MovieMatchError as error:
                outcomes[place] = error
        # One step for all, then the next: in turns they would take half as long again, for want of cache.
        for replies, queries in asked.items():
            read = [*queries.values()]
            answers = way.answer(replies.recommender, read)
            packed = way.pack([requests[place] for place in queries], replies, read, answers)
            outcomes.update(zip(queries, packed, strict=True))
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
            replies.reply(answer, query.missing, token)
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


def _noted(answer: Answer, notes: Sequence[str]) -> Answer:
    """The answer, whose plan, if there is one, says what of the request is not heeded."""
    if not notes or answer.plan is None:
        return answer
    return answer._replace(plan=answer.plan._replace(notes=[*answer.plan.notes, *notes]))


def _recommend(recommender: Recommender, queries: Sequence[RecommendQuery]) -> list[Answer]:
    return recommender.recommend_batch([(query.taste, query.listing) for query in queries])


def _similar(recommender: Recommender, queries: Sequence[SimilarQuery]) -> list[Answer]:
    return recommender.similar_batch([(query.seeds, query.listing) for query in queries])
