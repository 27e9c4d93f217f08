"""Replies put together from bytes are what protobuf makes of the same answers."""

from collections.abc import Sequence

import pytest
from google.protobuf.message import Message
from google.rpc import status_pb2
from hypothesis import given, strategies as st

from deepmoviematch.indexer.generation import Generation
from deepmoviematch.server.ranking.question import Answer, Figures, Origin
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.rpc.replies import KEPT_BYTES, Replies, Reply
from deepmoviematch.v1 import recommender_pb2 as pb

ITEMS = 25

SOURCES = {
    Origin.RETRIEVAL: pb.SOURCE_RETRIEVAL,
    Origin.POPULARITY: pb.SOURCE_POPULARITY,
    Origin.LOOKUP: pb.SOURCE_LOOKUP,
}


def plainly(generation: Generation, answer: Answer, missing: Sequence[str]) -> pb.RecommendResponse:
    """The oracle: the response built field by field."""
    catalogue = generation.catalogue
    mode = pb.SEARCH_MODE_EXACT if answer.exact else pb.SEARCH_MODE_ANN
    return pb.RecommendResponse(
        results=[
            pb.Recommendation(
                item_id=catalogue.item_ids[row],
                score=score,
                rank=rank,
                title=catalogue.titles[row],
                year=int(catalogue.years[row]),
                genres=catalogue.genres_of(row),
                source=pb.SOURCE_EXPLORATION if explored else SOURCES[answer.origin],
                propensity=propensity,
            )
            for rank, (row, score, explored, propensity) in enumerate(
                zip(
                    answer.rows,
                    answer.scores,
                    answer.explored or [False] * len(answer.rows),
                    answer.propensities or [0.0] * len(answer.rows),
                    strict=True,
                ),
                start=answer.start + 1,
            )
        ],
        missing_item_ids=missing,
        metadata=pb.ResponseMetadata(
            generation_id=generation.id,
            search_mode=mode if answer.origin is Origin.RETRIEVAL else pb.SEARCH_MODE_UNSPECIFIED,
            filtered_out=answer.filtered_out,
            exhausted=answer.exhausted,
            cold_start=answer.origin is Origin.POPULARITY,
            **(answer.figures._asdict() if answer.figures else {}),
        ),
    )


def parsed(reply: Reply, kind: type[Message] = pb.RecommendResponse) -> Message:
    return kind.FromString(reply.contents)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    size = draw(st.integers(0, 12) | st.sampled_from([127, 128, 129, 1000]))  # where a rank takes a byte more
    scores = st.floats(-1, 1, width=32)
    explored = draw(st.sampled_from([[], [place % 3 == 0 for place in range(size)]])) if size < 20 else []
    return Answer(
        rows=[draw(st.integers(0, ITEMS - 1)) for _ in range(size)]
        if size < 20
        else [row % ITEMS for row in range(size)],
        scores=[draw(scores) for _ in range(size)] if size < 20 else [0.5] * size,
        origin=draw(st.sampled_from(Origin)),
        start=draw(st.sampled_from([0, 1, 120, 995, 16_380])),
        filtered_out=draw(st.integers(0, 10_000)),
        exhausted=draw(st.booleans()),
        exact=draw(st.booleans()),
        figures=draw(st.none() | st.builds(Figures, *[st.floats(0, 1, width=32)] * 3)),
        explored=explored,
        propensities=[0.25 if each else 1.0 for each in explored],
    )


ids = st.lists(st.text(min_size=1, max_size=300), max_size=3)


@given(answer=answers(), missing=ids, token=st.sampled_from(["", "x", "x" * 200]))
def test_a_reply_is_what_protobuf_makes_of_the_answer(
    recommender: Recommender, answer: Answer, missing: list[str], token: str
) -> None:
    expected = plainly(recommender.generation, answer, missing)
    expected.next_page_token = token
    reply = Replies(recommender).reply(answer, missing, token.encode())
    assert parsed(reply) == expected
    assert len(reply.contents) >= expected.ByteSize()  # a score of 0 may be spelt out
    assert (reply.generation_id, reply.results) == (recommender.generation.id, len(answer.rows))
    assert bool(reply.chances) == bool(answer.propensities)
    metadata = expected.metadata
    assert (reply.filtered_out, reply.cold_start) == (metadata.filtered_out, metadata.cold_start)
    assert reply.top_score == (expected.results[0].score if expected.results else None)


@given(answer=answers(), data=st.data())
def test_predicted_ratings_stand_beside_their_results(
    recommender: Recommender, answer: Answer, data: st.DataObject
) -> None:
    size = len(answer.rows)
    several = st.lists(st.floats(0.5, 5, width=32), min_size=size, max_size=size)
    ratings = data.draw(several) if size < 20 else [3.5] * size
    expected = plainly(recommender.generation, answer, [])
    for result, rating in zip(expected.results, ratings, strict=True):
        result.predicted_rating = rating
    assert parsed(Replies(recommender).reply(answer, ratings=ratings)) == expected


@given(answer=answers())
def test_the_rest_of_a_message_may_follow(recommender: Recommender, answer: Answer) -> None:
    rest = pb.FindItemsResponse(rating_scale=pb.RatingScale(low=0.5, top=5))
    found = parsed(Replies(recommender).reply(answer, rest=rest), pb.FindItemsResponse)
    expected = pb.FindItemsResponse.FromString(
        plainly(recommender.generation, answer, []).SerializeToString()
    )
    expected.MergeFrom(rest)
    assert found == expected


@given(batch=st.lists(st.tuples(answers(), ids), max_size=4))
def test_a_batch_is_its_replies_one_after_the_other(
    recommender: Recommender, batch: list[tuple[Answer, list[str]]]
) -> None:
    replies = Replies(recommender)
    refusal = replies.refusal(status_pb2.Status(code=3, message="no"))
    reply = replies.batch([*(replies.reply(answer, missing) for answer, missing in batch), refusal])
    expected = [plainly(recommender.generation, answer, missing) for answer, missing in batch]
    refused = pb.RecommendResponse(
        status=status_pb2.Status(code=3, message="no"),
        metadata=pb.ResponseMetadata(generation_id=recommender.generation.id),
    )
    assert parsed(reply, pb.BatchRecommendResponse) == pb.BatchRecommendResponse(
        responses=[*expected, refused]
    )
    assert [chance.request for chance in reply.chances] == [
        place for place, (answer, _) in enumerate(batch) if answer.propensities
    ]
    assert (reply.requests, reply.results) == (len(batch) + 1, sum(len(answer.rows) for answer, _ in batch))


def asked(contents: bytes = b"asked") -> tuple[str, bytes]:
    return "Recommend", contents


def test_a_small_reply_is_kept_for_the_same_request_and_method(recommender: Recommender) -> None:
    name = recommender.generation.id
    replies, reply = Replies(recommender, keeps=2), Reply(b"x" * (KEPT_BYTES - 5), name, 1)
    replies.keep(asked(), reply)
    assert replies.kept(asked()) is reply
    assert replies.kept(asked(b"asked more")) is None
    assert replies.kept(("SimilarItems", b"asked")) is None


def test_nothing_large_is_kept(recommender: Recommender) -> None:
    replies = Replies(recommender, keeps=2)
    replies.keep(asked(), Reply(b"x" * (KEPT_BYTES - 4), recommender.generation.id, 1))
    assert replies.kept(asked()) is None


def test_nothing_of_another_generation_is_kept(recommender: Recommender) -> None:
    replies = Replies(recommender, keeps=2)
    replies.keep(asked(), Reply(b"contents", recommender.generation.id + "x", 1))
    assert replies.kept(asked()) is None


@pytest.mark.parametrize("keeps", [0, 3])
def test_no_more_is_kept_than_asked_for(recommender: Recommender, keeps: int) -> None:
    replies = Replies(recommender, keeps)
    for number in range(10):
        replies.keep(asked(bytes([number])), Reply(b"contents", recommender.generation.id, 1))
        assert len(replies._kept) <= keeps
