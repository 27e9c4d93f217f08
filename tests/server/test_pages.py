"""Walks through pages over a real socket: one order, whatever happens meanwhile."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given, strategies as st

from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.errors import GenerationLoadingError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.follower import Follower
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.rpc.tokens import Tokens
from deepmoviematch.v1 import recommender_pb2 as pb
from tests.server.rpc.messages import details

Outcome: TypeAlias = Callable[..., SimpleNamespace]

HISTORY = [pb.Interaction(item_id=item) for item in ("6", "50", "nope")]
QUESTIONS: dict[str, Any] = {
    "Recommend": pb.RecommendRequest(user=pb.UserFeatures(history=HISTORY), exclude_item_ids=["7"]),
    "Recommend, next": pb.RecommendRequest(user=pb.UserFeatures(history=HISTORY), intent=pb.INTENT_NEXT),
    "Recommend, at a moment": pb.RecommendRequest(
        user=pb.UserFeatures(history=HISTORY, context=pb.Context(hour=21, device="TV"))
    ),
    "Recommend, nothing known": pb.RecommendRequest(),
    "SimilarItems": pb.SimilarItemsRequest(item_id="6"),
    "SimilarItems, of several": pb.SimilarItemsRequest(
        positive_item_ids=["6", "50"], negative_item_ids=["1"], exclude_item_ids=["7"]
    ),
    "FindItems": pb.FindItemsRequest(title="film"),
    "Recommend, styled": pb.RecommendRequest(
        user=pb.UserFeatures(history=HISTORY),
        diversity=pb.Diversity(strength=0.5),
        novelty=0.2,
        exploration=pb.Exploration(share=0.4, seed=7),
    ),
    "Recommend, capped": pb.RecommendRequest(
        user=pb.UserFeatures(history=HISTORY), diversity=pb.Diversity(max_per_genre=2)
    ),
    "SimilarItems, styled": pb.SimilarItemsRequest(
        item_id="6", diversity=pb.Diversity(strength=0.5, max_per_genre=3), novelty=0.2
    ),
}
FIGURES = ("intra_list_diversity", "relevance_paid", "mean_popularity")


def walk(call: Callable[[Any], Any], question: Any, sizes: list[int]) -> Iterator[Any]:
    """Page after page, the sizes in turn."""
    request = type(question)()
    request.CopyFrom(question)
    for place in range(1000):
        request.page_size = sizes[place % len(sizes)]
        response = call(request)
        yield response
        request.page_token = response.next_page_token
        if not request.page_token:
            return


def batched(stub: Any) -> Callable[[Any], Any]:
    """Recommend by way of a batch, among other requests."""

    def call(request: Any) -> Any:
        requests = [pb.RecommendRequest(page_size=2), request, pb.RecommendRequest(page_size=-1)]
        [_, response, _] = stub.BatchRecommend(pb.BatchRecommendRequest(requests=requests)).responses
        assert not response.HasField("status")
        return response

    return call


def results(pages: list[Any]) -> list[Any]:
    return [item for page in pages for item in page.results]


def check_are_the_same(found: list[Any], expected: list[Any]) -> None:
    """Hold results to others; the last bits of a predicted rating vary with how many are on a page."""
    ratings = [[item.predicted_rating for item in items] for items in (found, expected)]
    assert ratings[0] == pytest.approx(ratings[1], abs=1e-5)
    for item in (*found, *expected):
        item.ClearField("predicted_rating")
    assert found == expected


@pytest.mark.parametrize("name", QUESTIONS)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_all_pages_are_the_one_answer(running: SimpleNamespace, name: str, sizes: list[int]) -> None:
    call = getattr(running.stub, name.partition(",")[0])
    [whole] = walk(call, QUESTIONS[name], [1000])
    pages = list(walk(call, QUESTIONS[name], sizes))
    check_are_the_same(results(pages), list(whole.results))
    assert [item.rank for item in whole.results] == list(range(1, len(whole.results) + 1))
    assert [page.metadata.exhausted for page in pages] == [False] * (len(pages) - 1) + [True]
    assert [bool(page.next_page_token) for page in pages] == [True] * (len(pages) - 1) + [False]
    for page in pages:
        page.metadata.exhausted = True
    for response in (whole, *pages):
        for figure in FIGURES:
            assert response.metadata.HasField(figure) == (name.endswith(("styled", "capped")))
            response.metadata.ClearField(figure)
        assert response.metadata == whole.metadata


@pytest.mark.parametrize("name", [name for name in QUESTIONS if name.startswith("Recommend")])
def test_all_pages_of_a_request_in_a_batch_are_the_one_answer(running: SimpleNamespace, name: str) -> None:
    [whole] = walk(running.stub.Recommend, QUESTIONS[name], [1000])
    pages = list(walk(batched(running.stub), QUESTIONS[name], [4, 7]))
    assert [item.item_id for item in results(pages)] == [item.item_id for item in whole.results]
    assert [item.rank for item in results(pages)] == [item.rank for item in whole.results]


@pytest.fixture
def swapped(
    tmp_path: Path, publish: Callable[..., Generation], serve: Callable[..., Any]
) -> Iterator[SimpleNamespace]:
    """A server over a store that a test publishes to; `follow()` makes it look."""
    folder, current = tmp_path / "store", Current(tmp_path / "store")
    publish(folder, seed=1)
    follower = Follower(folder, current, on_ready=lambda: None)
    follower.poll()

    def swap(seed: int) -> str:
        name = publish(folder, seed=seed).id
        follower.poll()
        return name

    with serve(current, kept_replies=100) as running:
        yield SimpleNamespace(store=Store(folder), stub=running.stub, swap=swap, current=current)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_walk_stays_with_its_generation_across_swaps(swapped: SimpleNamespace, name: str) -> None:
    call = getattr(swapped.stub, name.partition(",")[0])
    [whole] = walk(call, QUESTIONS[name], [1000])
    pages = walk(call, QUESTIONS[name], [3])
    seen = [next(pages)]
    for seed, page in enumerate(pages, start=2):
        seen.append(page)
        if seed < 7:  # more than stay in memory
            swapped.swap(seed)
    check_are_the_same(results(seen), list(whole.results))
    assert {page.metadata.generation_id for page in seen} == {whole.metadata.generation_id}


def test_requests_of_a_batch_go_on_each_with_its_own_generation(swapped: SimpleNamespace) -> None:
    question = QUESTIONS["Recommend"]
    [whole] = walk(swapped.stub.Recommend, question, [1000])
    pages = walk(batched(swapped.stub), question, [4])
    seen = [next(pages)]
    latest = swapped.swap(2)
    seen += pages
    assert [item.item_id for item in results(seen)] == [item.item_id for item in whole.results]
    assert {page.metadata.generation_id for page in seen} == {whole.metadata.generation_id} != {latest}


def test_a_generation_that_was_collected_ends_the_walk(swapped: SimpleNamespace, outcome: Outcome) -> None:
    request = pb.RecommendRequest(page_size=3)
    request.page_token = swapped.stub.Recommend(request).next_page_token
    first = swapped.current.serving.recommender.generation.id
    for seed in range(2, 5):  # as many as push the first one out of memory
        swapped.swap(seed)
    swapped.store.gc(keep=1)
    ended = outcome(swapped.stub.Recommend, request)
    assert ended.code == "FAILED_PRECONDITION"
    info = details(ended.status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("GENERATION_GONE", "deepmoviematch")
    assert ended.status.message.startswith(f"generation {first} of the page_token is there no more")
    batch = swapped.stub.BatchRecommend(pb.BatchRecommendRequest(requests=[request, pb.RecommendRequest()]))
    assert [each.status.code for each in batch.responses] == [
        grpc.StatusCode.FAILED_PRECONDITION.value[0],
        0,
    ]


def test_a_batch_that_came_while_a_generation_was_loading_is_answered_when_it_comes_again(
    swapped: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = pb.RecommendRequest(page_size=3)
    first = swapped.stub.Recommend(page)
    page.page_token = first.next_page_token
    swapped.swap(2)

    def busy(self: Current, generation_id: str) -> Recommender:
        raise GenerationLoadingError(generation_id)

    batch = pb.BatchRecommendRequest(requests=[page])
    with monkeypatch.context() as patch:
        patch.setattr(Current, "get", busy)
        [refused] = swapped.stub.BatchRecommend(batch).responses
    assert refused.status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    [answered] = swapped.stub.BatchRecommend(batch).responses
    assert answered.metadata.generation_id == first.metadata.generation_id


def test_a_walk_goes_on_once_its_store_can_be_read_again(
    swapped: SimpleNamespace, outcome: Outcome, hide: Callable[[Path], Any]
) -> None:
    request = pb.RecommendRequest(page_size=3)
    first = swapped.stub.Recommend(request)
    request.page_token = first.next_page_token
    for seed in range(2, 5):  # as many as push the first one out of memory
        swapped.swap(seed)
    with hide(swapped.store.folder):
        ended = outcome(swapped.stub.Recommend, request)
    assert ended.code == "UNAVAILABLE"
    assert details(ended.status, error_details_pb2.ErrorInfo).reason == "GENERATION_LOADING"
    assert swapped.stub.Recommend(request).metadata.generation_id == first.metadata.generation_id


def test_a_generation_in_memory_outlives_its_collection(swapped: SimpleNamespace) -> None:
    request = pb.RecommendRequest(page_size=3)
    first = swapped.stub.Recommend(request)
    request.page_token = first.next_page_token
    swapped.swap(2)
    swapped.store.gc(keep=1)
    assert swapped.stub.Recommend(request).metadata.generation_id == first.metadata.generation_id


def violations(status: Any) -> list[str]:
    return [each.field for each in details(status, error_details_pb2.BadRequest).field_violations]


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_token_that_is_no_good_is_told_with_all_other_faults(
    running: SimpleNamespace, outcome: Outcome, name: str
) -> None:
    call, question = getattr(running.stub, name.partition(",")[0]), QUESTIONS[name]
    good = next(walk(call, question, [2])).next_page_token
    request = type(question)()
    request.CopyFrom(question)
    for token in (good[:-1], good[:20], good[1:], "x", "é", "x" * 100_000, good.swapcase()):
        request.page_token, request.page_size = token, 5
        ended = outcome(call, request)
        assert (ended.code, violations(ended.status)) == ("INVALID_ARGUMENT", ["page_token"])
        request.page_size = -1
        assert sorted(violations(outcome(call, request).status)) == ["page_size", "page_token"]


def test_a_token_is_good_for_its_own_request_alone(running: SimpleNamespace, outcome: Outcome) -> None:
    request = pb.RecommendRequest(page_size=3)
    token = running.stub.Recommend(request).next_page_token
    request = pb.RecommendRequest(page_size=3, page_token=token, include_history=True)
    ended = outcome(running.stub.Recommend, request)
    assert ended.code == "INVALID_ARGUMENT"
    assert ended.status.message.startswith(
        "page_token must be one that this very request was answered with, got that of another one"
    )


@pytest.mark.parametrize(("key", "code"), [(b"k" * 32, "OK"), (b"o" * 32, "INVALID_ARGUMENT")])
def test_servers_understand_the_tokens_of_those_with_the_same_key(
    recommender: Recommender, serve: Callable[..., Any], outcome: Outcome, key: bytes, code: str
) -> None:
    current = Current()
    current.set(recommender)
    with serve(current, tokens=Tokens(b"k" * 32)) as one, serve(current, tokens=Tokens(key)) as other:
        token = one.stub.Recommend(pb.RecommendRequest(page_size=3)).next_page_token
        assert outcome(other.stub.Recommend, pb.RecommendRequest(page_token=token)).code == code


def recommended(running: SimpleNamespace, **fields: Any) -> Any:
    user = pb.UserFeatures(history=HISTORY)
    return running.stub.Recommend(pb.RecommendRequest(user=user, **fields))


def test_styles_of_strength_nothing_change_nothing(running: SimpleNamespace) -> None:
    plain = recommended(running, page_size=9)
    for fields in (
        {"diversity": pb.Diversity()},
        {"exploration": pb.Exploration(seed=5)},
        {"diversity": pb.Diversity(strength=0, max_per_genre=0), "novelty": 0},
    ):
        styled = recommended(running, page_size=9, **fields)
        styled.next_page_token = plain.next_page_token
        assert styled == plain


def test_a_page_says_what_its_diversity_cost(running: SimpleNamespace) -> None:
    plain = recommended(running, page_size=8)
    diverse = recommended(running, page_size=8, diversity=pb.Diversity(strength=0.8))
    mean = [sum(item.score for item in response.results) / 8 for response in (plain, diverse)]
    assert diverse.metadata.relevance_paid == pytest.approx(mean[0] - mean[1], abs=1e-6)
    assert diverse.metadata.relevance_paid > 0


def test_a_cap_holds_for_the_whole_walk_and_spares_items_without_genres(running: SimpleNamespace) -> None:
    question = QUESTIONS["Recommend, capped"]
    items = results(list(walk(running.stub.Recommend, question, [3])))
    counts = Counter(genre for item in items for genre in item.genres)
    assert set(counts.values()) == {1, 2}
    assert any(not item.genres for item in items)


def test_exploration_says_where_and_how_likely(running: SimpleNamespace) -> None:
    plain = recommended(running, page_size=1000)
    size, share = len(plain.results), 0.25
    stay = 1 - share + (1 - (1 - share) ** size) / size
    seen = set()
    for seed in range(30):
        exploring = recommended(running, page_size=1000, exploration=pb.Exploration(share=share, seed=seed))
        for was, now in zip(plain.results, exploring.results, strict=True):
            moved = was.item_id != now.item_id
            assert now.propensity == pytest.approx((1 - stay) / (size - 1) if moved else stay)
            assert now.source == pb.SOURCE_EXPLORATION or not moved
            seen.add(now.source)
        again = recommended(running, page_size=1000, exploration=pb.Exploration(share=share, seed=seed))
        assert again == exploring
    assert seen == {pb.SOURCE_RETRIEVAL, pb.SOURCE_EXPLORATION}


def test_one_seed_does_another_thing_for_another_user(running: SimpleNamespace) -> None:
    exploration = pb.Exploration(share=0.5, seed=1)
    explored = []
    for items in (["6"], ["6", "50"], ["7", "50", "1"]):
        user = pb.UserFeatures(history=[pb.Interaction(item_id=item) for item in items])
        request = pb.RecommendRequest(user=user, page_size=20, exploration=exploration)
        response = running.stub.Recommend(request)
        explored.append([item.source == pb.SOURCE_EXPLORATION for item in response.results])
    assert explored[0] != explored[1] != explored[2]


def test_popular_items_keep_their_source_where_chance_has_no_hand(running: SimpleNamespace) -> None:
    exploration = pb.Exploration(share=0.3)
    response = running.stub.Recommend(pb.RecommendRequest(page_size=25, exploration=exploration))
    assert {item.source for item in response.results} == {pb.SOURCE_POPULARITY, pb.SOURCE_EXPLORATION}
