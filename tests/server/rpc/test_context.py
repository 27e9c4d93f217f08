"""When and on what a user asks, over a real socket."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from google.rpc import error_details_pb2
from hypothesis import given, strategies as st

from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.v1 import recommender_pb2 as pb
from tests.server.rpc.messages import told

contexts = st.builds(
    pb.Context,
    hour=st.none() | st.integers(0, 23),
    weekday=st.sampled_from(pb.Weekday.values()),
    device=st.sampled_from(["", "tv", "phone", "toaster"]),
)


def asked(context: pb.Context | None = None, **fields: Any) -> pb.RecommendRequest:
    history = [pb.Interaction(item_id="6"), pb.Interaction(item_id="183", rating=2)]
    return pb.RecommendRequest(user=pb.UserFeatures(history=history, context=context), **fields)


@pytest.fixture(scope="module")
def without(
    tmp_path_factory: pytest.TempPathFactory, publish: Callable[..., Generation], serve: Callable[..., Any]
) -> Iterator[SimpleNamespace]:
    """A server whose generation could be taught nothing of the moment."""
    folder = tmp_path_factory.mktemp("without")
    publish(folder, reads_moments=False)
    current = Current()
    current.set(Recommender(Store(folder).load()))
    with serve(current) as running:
        yield running


@pytest.mark.parametrize(
    "context",
    [pb.Context(hour=0), pb.Context(weekday=pb.WEEKDAY_MONDAY), pb.Context(device="tv")],
    ids=["hour", "weekday", "device"],
)
def test_each_feature_moves_the_answer_for_taste_and_for_what_is_next(
    running: SimpleNamespace, context: pb.Context
) -> None:
    for intent in (pb.INTENT_TASTE, pb.INTENT_NEXT):
        plain = running.stub.Recommend(asked(intent=intent))
        assert told(running.stub.Recommend(asked(context, intent=intent))) != told(plain)


def test_devices_differ_and_case_and_space_around_them_do_not_count(running: SimpleNamespace) -> None:
    answers = {
        name: told(running.stub.Recommend(asked(pb.Context(device=name))))
        for name in ("tv", "phone", " TV ", "Phone")
    }
    assert answers["tv"] == answers[" TV "] != answers["phone"] == answers["Phone"]


def test_what_is_not_told_and_a_device_that_is_not_known_change_nothing(running: SimpleNamespace) -> None:
    plain = told(running.stub.Recommend(asked()))
    for context in (pb.Context(), pb.Context(device="toaster"), pb.Context(device="  ")):
        assert told(running.stub.Recommend(asked(context))) == plain


@given(context=contexts, intent=st.sampled_from(pb.Intent.values()), explain=st.booleans())
def test_a_generation_that_reads_no_moment_answers_as_without(
    without: SimpleNamespace, context: pb.Context, intent: "pb.Intent.ValueType", explain: bool
) -> None:
    more: dict[str, Any] = {"intent": intent, "explain": explain, "page_size": 50}
    plain = told(without.stub.Recommend(asked(**more)))
    assert told(without.stub.Recommend(asked(context, **more))) == plain
    user, place = asked(context).user, without.stub.EmbedUser
    expected = place(pb.EmbedUserRequest(user=asked().user, intent=intent))
    assert place(pb.EmbedUserRequest(user=user, intent=intent)) == expected


@given(context=contexts)
def test_a_generation_that_does_answers_as_ever_where_nothing_is_told(
    running: SimpleNamespace, without: SimpleNamespace, context: pb.Context
) -> None:
    """The tables stand beside the towers: both generations are the same but for these."""
    ours, theirs = (told(server.stub.Recommend(asked())) for server in (running, without))
    for response in (ours, theirs):
        response.metadata.generation_id = ""
    assert ours == theirs


def test_the_moment_alone_is_no_usable_feature(running: SimpleNamespace) -> None:
    nobody = pb.RecommendRequest(user=pb.UserFeatures(context=pb.Context(hour=3, device="tv")))
    response = running.stub.Recommend(nobody)
    assert response.metadata.cold_start
    assert response.results == running.stub.Recommend(pb.RecommendRequest()).results
    assert running.stub.EmbedUser(pb.EmbedUserRequest(user=nobody.user)).metadata.cold_start


@given(context=contexts, intent=st.sampled_from(pb.Intent.values()))
def test_parts_add_up_with_one_for_each_feature_that_is_read(
    running: SimpleNamespace, context: pb.Context, intent: "pb.Intent.ValueType"
) -> None:
    expected = {"hour"} if context.HasField("hour") else set()
    expected |= {"weekday"} if context.weekday else set()
    expected |= {"device"} if context.device in {"tv", "phone"} else set()
    for item in running.stub.Recommend(asked(context, intent=intent, explain=True, page_size=50)).results:
        why = item.explanation
        parts = [each.contribution for each in (*why.history, *why.genres, *why.context)]
        assert {each.feature for each in why.context} == expected
        sizes = [abs(each.contribution) for each in why.context]
        assert sizes == sorted(sizes, reverse=True)
        total = why.baseline_score + sum(parts) + why.other_contributions + why.gap
        assert total == pytest.approx(item.score, abs=1e-5)
        assert abs(why.gap) <= 1e-3


def test_a_sentence_names_the_moment_where_it_moved_the_score_most(running: SimpleNamespace) -> None:
    request = asked(pb.Context(device="tv"), explain=True, page_size=50)
    request.user.ClearField("history")
    request.user.genre_preferences["comedy"] = 2.75
    raised = [
        item.explanation
        for item in running.stub.Recommend(request).results
        if item.explanation.context[0].contribution > max(0.001, abs(item.explanation.genres[0].contribution))
    ]
    assert raised
    assert all(why.sentence.startswith("Raised most by the device") for why in raised)


def test_a_batch_answers_each_moment_as_a_single_call_does(running: SimpleNamespace) -> None:
    requests = [asked(pb.Context(hour=hour, device="tv")) for hour in range(12)]
    responses = running.stub.BatchRecommend(pb.BatchRecommendRequest(requests=requests)).responses
    assert list(responses) == [running.stub.Recommend(request) for request in requests]


def test_a_user_is_embedded_at_the_moment(running: SimpleNamespace, recommender: Recommender) -> None:
    request = asked(pb.Context(hour=9, weekday=pb.WEEKDAY_SUNDAY), page_size=1000, include_history=True)
    place = running.stub.EmbedUser(pb.EmbedUserRequest(user=request.user))
    items = recommender.generation.catalogue.item_ids
    scores = dict(zip(items, recommender.generation.index.exact.view @ place.vector, strict=True))
    ranked = {item.item_id: item.score for item in running.stub.Recommend(request).results}
    assert ranked == pytest.approx(scores, abs=1e-5)


def test_a_walk_stays_with_its_moment(
    running: SimpleNamespace, outcome: Callable[..., SimpleNamespace]
) -> None:
    token = running.stub.Recommend(asked(pb.Context(hour=9), page_size=3)).next_page_token
    for other in (None, pb.Context(), pb.Context(hour=10), pb.Context(hour=9, device="tv")):
        ended = outcome(running.stub.Recommend, asked(other, page_size=3, page_token=token))
        assert ended.code == "INVALID_ARGUMENT"
        assert "page_token must be one that this very request was answered with" in ended.status.message
    assert running.stub.Recommend(asked(pb.Context(hour=9), page_token=token)).results[0].rank == 4


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (pb.Context(hour=24), "user.context.hour must be 0 to 23, got 24"),
        (pb.Context(hour=-1), "user.context.hour must be 0 to 23, got -1"),
        (pb.Context(device="x" * 257), "user.context.device must be 0 to 256 bytes, got 257: "),
    ],
    ids=["hour after the last", "hour before the first", "long device"],
)
def test_what_is_out_of_bounds_is_refused(
    running: SimpleNamespace,
    outcome: Callable[..., SimpleNamespace],
    context: pb.Context,
    message: str,
) -> None:
    ended = outcome(running.stub.Recommend, asked(context))
    assert ended.code == "INVALID_ARGUMENT"
    assert ended.status.message.startswith(message)


def test_every_part_of_a_context_that_is_at_fault_is_told(
    running: SimpleNamespace, outcome: Callable[..., SimpleNamespace]
) -> None:
    context = pb.Context.FromString(b"\x08\x63\x10\x08")  # hour 99 on weekday 8
    ended = outcome(running.stub.EmbedUser, pb.EmbedUserRequest(user=asked(context).user))
    bad = error_details_pb2.BadRequest()
    [found] = [each for each in ended.status.details if each.Is(bad.DESCRIPTOR)]
    found.Unpack(bad)
    assert [each.field for each in bad.field_violations] == ["user.context.hour", "user.context.weekday"]
    assert "WEEKDAY_SUNDAY, got 8" in bad.field_violations[1].description


def test_validation_says_what_counts_for_nothing(running: SimpleNamespace, without: SimpleNamespace) -> None:
    request = asked(pb.Context(hour=9, device="Toaster"), validate_only=True)
    assert running.stub.Recommend(request).plan.notes == [
        'the device "toaster" counts for nothing with this generation; it knows tv, phone'
    ]
    assert without.stub.Recommend(request).plan.notes == [
        "the hour counts for nothing with this generation",
        "the device counts for nothing with this generation",
    ]
    request.user.context.device = "phone"
    assert not running.stub.Recommend(request).plan.notes
