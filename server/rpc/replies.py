"""Replies put together from bytes.

Protobuf messages concatenate: the bytes of two messages, one after the other, are the
bytes of their union. So what never changes of a `Recommendation` is serialised once
for each item of a generation, and only scores and lengths are written for each reply.
The tests hold every reply to what protobuf itself makes of the same answer.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import chain, repeat
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.server.ranking.explanation import Explanation
from deepmoviematch.server.ranking.question import Answer, Origin, UserEmbedding
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.rpc.checks import MAX_PAGE_SIZE
from deepmoviematch.v1 import recommender_pb2 as pb

CARDS = 100_000
"""Items whose serialised part is kept at hand; each takes some 200 bytes."""

KEPT_BYTES = 4096
"""A reply that is larger, together with its request, is not kept at hand."""


def varint(number: int) -> bytes:
    """`number` as protobuf writes lengths: seven bits a byte, the lowest first."""
    contents = bytearray()
    while number > 0x7F:
        contents.append(number & 0x7F | 0x80)
        number >>= 7
    contents.append(number)
    return bytes(contents)


_WIRE_TYPES = {FieldDescriptor.TYPE_MESSAGE: 2, FieldDescriptor.TYPE_STRING: 2, FieldDescriptor.TYPE_FLOAT: 5}


def _tag(field: Any) -> bytes:
    """How protobuf announces a message, a text or a float."""
    return varint(field.number << 3 | _WIRE_TYPES[field.type])


def _place(rank: int, source: pb.Source.ValueType, propensity: float = 0.0) -> bytes:
    """The end of a result: its place, and where it came from."""
    return pb.Recommendation(rank=rank, source=source, propensity=propensity).SerializeToString()


_RESULT = _tag(pb.RecommendResponse.DESCRIPTOR.fields_by_name["results"])
_TOKEN = _tag(pb.RecommendResponse.DESCRIPTOR.fields_by_name["next_page_token"])
_RESPONSE = _tag(pb.BatchRecommendResponse.DESCRIPTOR.fields_by_name["responses"])
_SCORE_TAG = _tag(pb.Recommendation.DESCRIPTOR.fields_by_name["score"])
_SCORE = Struct(f"<{len(_SCORE_TAG)}sf")
_RATING_TAG = _tag(pb.Recommendation.DESCRIPTOR.fields_by_name["predicted_rating"])
_RATED = Struct(f"<{len(_SCORE_TAG)}sf{len(_RATING_TAG)}sf")

_SOURCES = {
    Origin.RETRIEVAL: pb.SOURCE_RETRIEVAL,
    Origin.POPULARITY: pb.SOURCE_POPULARITY,
    Origin.LOOKUP: pb.SOURCE_LOOKUP,
}
_PLACES = {
    origin: [_place(rank, source) for rank in range(1, MAX_PAGE_SIZE + 1)]
    for origin, source in _SOURCES.items()
}
"""The ends of the results of a first page."""

_REST = [_SCORE.size + len(place) for place in _PLACES[Origin.RETRIEVAL]]
"""Bytes of each of them after its card; every source takes as many."""

_RATED_REST = [_RATED.size - _SCORE.size + size for size in _REST]
"""The same where ratings are predicted."""


class Chance(NamedTuple):
    """What was left to chance in the answer to one request."""

    request: int
    """Its place in the batch, from 0; 0 outside of one."""

    first_rank: int
    """Rank of the first result."""

    explored: Sequence[bool]
    """[K] as in `Answer`."""

    propensities: Sequence[float]
    """[K] as in `Answer`."""


class Trial(NamedTuple):
    """What the user of one request got as part of an experiment."""

    request: int
    """Its place in the batch, from 0; 0 outside of one."""

    experiment: str
    variant: str


class Reply(NamedTuple):
    """A serialised response, and what logs, metrics and traces say of it."""

    contents: bytes

    generation_id: str

    results: int

    requests: int | None = None
    """How many requests it answers, if it is the reply to a batch."""

    chances: tuple[Chance, ...] = ()
    """What was left to chance, for each request that asked for exploration."""

    trials: tuple[Trial, ...] = ()
    """For each request that was part of an experiment."""

    lasting: bool = True
    """Whether the same request gets it for as long as its generation is the current one."""

    filtered_out: int = 0
    """As in `Answer`; of one request alone, as what follows."""

    cold_start: bool = False
    """Whether nothing was known of the user, who got the popular items."""

    top_score: float | None = None
    """That of the first result, if there is one."""

    def as_part_of(self, experiment: str, variant: str | None) -> "Reply":
        """The same to a request that named an experiment, and got a variant of it or, if none runs, None."""
        if variant is None:
            return self._replace(lasting=False)
        metadata = pb.ResponseMetadata(variant=variant)  # which joins the metadata that is there
        said = pb.RecommendResponse(metadata=metadata).SerializeToString()
        trials = (Trial(0, experiment, variant),)
        return self._replace(contents=self.contents + said, trials=trials, lasting=False)


ReplyKey: TypeAlias = tuple[str, bytes]
"""Name of a method, and the bytes of a request."""


class Replies:
    """Writes the replies of one recommender, and so of one generation."""

    def __init__(self, recommender: Recommender, keeps: int = 0) -> None:
        """Prepare for `recommender`, and to keep up to so many replies."""
        self.recommender = recommender
        self._generation_id = recommender.generation.id
        self._card = lru_cache(CARDS)(partial(_card, recommender.generation.catalogue))
        self._metadata = lru_cache(1024)(partial(_metadata, self._generation_id))
        self._keeps = keeps
        self._kept: dict[ReplyKey, Reply] = {}

    def reply(
        self,
        answer: Answer,
        missing: Sequence[str] = (),
        token: bytes = b"",
        *,
        ratings: Sequence[float] = (),
        explanations: Sequence[Explanation] = (),
        rest: Message | None = None,
    ) -> Reply:
        """The reply with `answer`; RecommendResponse and its kin number their fields alike.

        Args:
            answer: The results.
            missing: Ids of the request that the generation does not know.
            token: With which to ask for the next page.
            ratings: Predicted for the results, or for none.
            explanations: Of the first results, or of none.
            rest: More fields of the same message.
        """
        pieces = [
            *self._results(answer, ratings, explanations),
            self._metadata(answer.origin, answer.filtered_out, answer.exhausted, answer.exact),
        ]
        if answer.figures is not None:
            figures = pb.ResponseMetadata(**answer.figures._asdict())  # which joins the metadata above
            pieces.append(pb.RecommendResponse(metadata=figures).SerializeToString())
        if answer.plan is not None:
            plan = pb.Plan(
                candidates=answer.plan.candidates, reordered=answer.plan.reordered, notes=answer.plan.notes
            )
            pieces.append(pb.RecommendResponse(plan=plan).SerializeToString())
        if token:
            pieces += (_TOKEN, varint(len(token)), token)
        if missing:
            pieces.append(pb.RecommendResponse(missing_item_ids=missing).SerializeToString())
        if rest is not None:
            pieces.append(rest.SerializeToString())
        chances: tuple[Chance, ...] = ()
        if answer.propensities:
            chances = (Chance(0, answer.start + 1, answer.explored, answer.propensities),)
        return Reply(
            b"".join(pieces),
            self._generation_id,
            len(answer.rows),
            chances=chances,
            filtered_out=answer.filtered_out,
            cold_start=answer.origin is Origin.POPULARITY,
            top_score=answer.scores[0] if answer.rows else None,
        )

    def embedding(self, user: UserEmbedding, missing: Sequence[str] = ()) -> Reply:
        """The reply with where a user is."""
        response = pb.EmbedUserResponse(
            vector=user.vector,
            dimension=len(user.vector),
            missing_item_ids=missing,
            metadata=pb.ResponseMetadata(generation_id=self._generation_id, cold_start=not user.known),
            nearest_genres=[pb.GenreAffinity(genre=genre, cosine=cosine) for genre, cosine in user.genres],
        )
        return Reply(response.SerializeToString(), self._generation_id, 0)

    def kept(self, key: ReplyKey) -> Reply | None:
        """The reply that was kept for the very same request."""
        return self._kept.get(key) if self._kept else None

    def keep(self, key: ReplyKey, reply: Reply) -> None:
        """Have `reply` at hand for the next who asks the same, if both are small.

        One from another generation is not kept: it is to be had for as long as that generation is.
        Nor is one that does not last.
        """
        if (
            self._keeps
            and reply.lasting
            and len(key[1]) + len(reply.contents) <= KEPT_BYTES
            and reply.generation_id == self._generation_id
        ):
            if len(self._kept) >= self._keeps:
                self._kept.clear()
            self._kept[key] = reply

    def refusal(self, status: Message) -> Reply:
        """The part of a batch that is at fault."""
        response = pb.RecommendResponse(
            status=status, metadata=pb.ResponseMetadata(generation_id=self._generation_id)
        )
        return Reply(response.SerializeToString(), self._generation_id, 0)

    def batch(self, replies: Sequence[Reply]) -> Reply:
        """The reply to a batch, given those to its requests."""
        pieces = chain.from_iterable(
            (_RESPONSE, varint(len(each.contents)), each.contents) for each in replies
        )
        placed = [*enumerate(replies)]
        return Reply(
            b"".join(pieces),
            self._generation_id,
            results=sum(each.results for each in replies),
            requests=len(replies),
            chances=tuple(one._replace(request=place) for place, each in placed for one in each.chances),
            trials=tuple(one._replace(request=place) for place, each in placed for one in each.trials),
            lasting=all(each.lasting and each.generation_id == self._generation_id for each in replies),
        )

    def _results(
        self, answer: Answer, ratings: Sequence[float], explanations: Sequence[Explanation]
    ) -> Iterable[bytes]:
        """The field `results`: for each item its card, score, rating, place and why it is there."""
        card: Callable[[int, int], bytes] = self._card
        places, rest = _PLACES[answer.origin], _RATED_REST if ratings else _REST
        if answer.start or answer.propensities or explanations:
            places = _places(answer)
            if explanations:  # of a length that no other reply needs a card for
                catalogue = self.recommender.generation.catalogue
                card = partial(_card, catalogue)
                for place, explanation in enumerate(explanations):
                    places[place] += _explanation(catalogue, explanation)
            before = (_RATED if ratings else _SCORE).size
            rest = [before + len(place) for place in places]
        cards = map(card, answer.rows, rest)
        if ratings:
            scores = map(_RATED.pack, repeat(_SCORE_TAG), answer.scores, repeat(_RATING_TAG), ratings)
        else:
            scores = map(_SCORE.pack, repeat(_SCORE_TAG), answer.scores)
        return chain.from_iterable(zip(cards, scores, places, strict=False))


def _places(answer: Answer) -> list[bytes]:
    """The ends of results that are not those of a plain first page."""
    ranks = range(answer.start + 1, answer.start + len(answer.rows) + 1)
    source = _SOURCES[answer.origin]
    if not answer.propensities:
        return [_place(rank, source) for rank in ranks]
    sources = [pb.SOURCE_EXPLORATION if given else source for given in answer.explored]
    return [*map(_place, ranks, sources, answer.propensities)]


def _explanation(catalogue: Catalogue, explanation: Explanation) -> bytes:
    """The field `explanation` of a result."""
    nearest = None
    if explanation.nearest is not None:
        row, cosine = explanation.nearest
        nearest = pb.NearestLike(item_id=catalogue.item_ids[row], title=catalogue.titles[row], cosine=cosine)
    message = pb.Explanation(
        sentence=explanation.sentence,
        score=explanation.score,
        baseline_score=explanation.baseline,
        history=[
            pb.HistoryContribution(
                item_id=catalogue.item_ids[row], title=catalogue.titles[row], contribution=contribution
            )
            for row, contribution in explanation.history
        ],
        genres=[
            pb.GenreContribution(genre=catalogue.genre_names[genre], contribution=contribution)
            for genre, contribution in explanation.genres
        ],
        context=[
            pb.ContextContribution(feature=feature, contribution=contribution)
            for feature, contribution in explanation.moment
        ],
        other_contributions=explanation.others,
        gap=explanation.gap,
        nearest_like=nearest,
        shared_genres=[catalogue.genre_names[genre] for genre in explanation.shared],
    )
    return pb.Recommendation(explanation=message).SerializeToString()


def _card(catalogue: Catalogue, row: int, rest: int) -> bytes:
    """Tag, length and beginning of a result that goes on for `rest` bytes: what is known of the item."""
    item = pb.Recommendation(
        item_id=catalogue.item_ids[row],
        title=catalogue.titles[row],
        year=int(catalogue.years[row]),
        genres=catalogue.genres_of(row),
    ).SerializeToString()
    return _RESULT + varint(len(item) + rest) + item


def _metadata(generation_id: str, origin: Origin, filtered_out: int, exhausted: bool, exact: bool) -> bytes:
    mode = pb.SEARCH_MODE_EXACT if exact else pb.SEARCH_MODE_ANN
    metadata = pb.ResponseMetadata(
        generation_id=generation_id,
        search_mode=mode if origin is Origin.RETRIEVAL else pb.SEARCH_MODE_UNSPECIFIED,
        filtered_out=filtered_out,
        exhausted=exhausted,
        cold_start=origin is Origin.POPULARITY,
    )
    return pb.RecommendResponse(metadata=metadata).SerializeToString()
