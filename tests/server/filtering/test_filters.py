"""Filters let through what plain Python lets through, compiled and over a real socket."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import TypeAlias

import numpy as np
import pytest
from google.rpc import error_details_pb2
from hypothesis import given, strategies as st

from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.indexer.search.vectors import FlatIndex
from deepmoviematch.server.filtering.fields import Texts
from deepmoviematch.server.filtering.filters import ITEM_BYTES, Filters
from deepmoviematch.server.filtering.syntax import Comparison, parse
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.v1 import recommender_pb2 as pb
from tests.server.filtering.oracle import Item, Tree, filters, known_of, like, satisfies

Outcome: TypeAlias = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def items(generation: Generation) -> list[Item]:
    return known_of(generation)


@given(asked=filters())
def test_a_filter_lets_through_what_plain_python_does(
    recommender: Recommender, items: list[Item], asked: tuple[str, Tree]
) -> None:
    text, tree = asked
    expected = [satisfies(item, tree) for item in items]
    assert recommender.filters.allowed(text).flags.tolist() == expected


def test_stars_stand_for_any_text() -> None:
    texts, patterns = (
        ["".join(letters) for size in sizes for letters in product(alphabet, repeat=size)]
        for alphabet, sizes in (("ab", (1, 2, 3)), ("ab*", range(5)))
    )
    field = Texts(len(texts), texts, *[np.arange(len(texts))] * 2)
    for pattern in patterns:
        for asked, meant in ((f'title = "{pattern}"', pattern), (f'title:"{pattern}"', f"*{pattern}*")):
            tree = parse(asked)
            assert isinstance(tree, Comparison)
            assert field.matches(tree).tolist() == [like(text, meant) for text in texts]


requests = st.builds(
    pb.RecommendRequest,
    user=st.builds(
        pb.UserFeatures,
        history=st.lists(
            st.builds(pb.Interaction, item_id=st.sampled_from(["1", "50", "6", "m3"])), max_size=3
        ),
    ),
    candidate_item_ids=st.just([])
    | st.lists(st.sampled_from(["1", "7", "m4", "m5", "300", "nope"]), max_size=5),
    page_size=st.sampled_from([1, 3, 1000]),
)


@given(asked=filters(), request=requests)
def test_the_wire_returns_the_best_of_what_a_filter_lets_through(
    running: SimpleNamespace, items: list[Item], asked: tuple[str, Tree], request: pb.RecommendRequest
) -> None:
    text, tree = asked
    history = {each.item_id for each in request.user.history}
    candidates, page_size = {*request.candidate_item_ids}, request.page_size
    similar = pb.SimilarItemsRequest(
        item_id="183", page_size=page_size, candidate_item_ids=request.candidate_item_ids
    )
    for ask, out, method in (
        (request, history, running.stub.Recommend),
        (similar, {"183"}, running.stub.SimilarItems),
    ):
        everything = type(ask).FromString(ask.SerializeToString())
        everything.page_size = 1000
        ask.filter = text
        response = method(ask)
        left = {item["item_id"] for item in items if satisfies(item, tree)} - out
        left = left & candidates if candidates else left
        ranked = [item.item_id for item in method(everything).results if item.item_id in left]
        assert [item.item_id for item in response.results] == ranked[:page_size]
        assert response.metadata.exhausted == (len(ranked) <= page_size)
        assert response.metadata.filtered_out == len(items) - len(ranked) - (ask is similar)
        assert response.metadata.cold_start == (ask is request and not history)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "titles:x",
            'must compare a field of the catalogue, got "titles" at character 1; did you mean title?',
        ),
        (
            "a b Genre:x",
            'must compare a field of the catalogue, got "Genre" at character 5; did you mean genres?',
        ),
        (
            "zzz=1",
            'must compare a field of the catalogue, got "zzz" at character 1; say item_id, title, year, ',
        ),
        (
            "year > new",
            'must compare with a number, got "new" at character 8; where it is unknown, NOT field:*',
        ),
        ("year:19*", 'must compare with a number, got "19*" at character 6'),
        ("year = ''", 'must compare with a number, got "" at character 8'),
        ("runtime < 1e999", 'must compare with a number, got "1e999" at character 11'),
        ("runtime < nan", 'must compare with a number, got "nan" at character 11'),
        ("adult = 1", 'must compare with true or false, got "1" at character 9'),
        ("adult > true", 'must ask what is true or false with =, got ">" at character 7'),
        (
            "Heat -adult",
            'must compare a field with a value, got "adult" at character 7; say adult = true, or put',
        ),
        ("genres = Comedy", 'must ask what a list has with :, got "=" at character 8'),
        ("tags < a", 'must ask what a list has with :, got "<" at character 6'),
        ("item_id >= 6", 'must ask ids with =, != or :, got ">=" at character 9'),
        ("year > (1990", "must close every parenthesis, and none twice, got the end at character 13"),
    ],
)
def test_a_filter_at_fault_is_refused_with_place_rule_and_cure(
    running: SimpleNamespace, outcome: Outcome, text: str, message: str
) -> None:
    for call, request in (
        (running.stub.Recommend, pb.RecommendRequest(filter=text)),
        (running.stub.SimilarItems, pb.SimilarItemsRequest(item_id="6", filter=text)),
    ):
        ended = outcome(call, request)
        assert ended.code == "INVALID_ARGUMENT"
        [detail] = [each for each in ended.status.details if each.Is(error_details_pb2.BadRequest.DESCRIPTOR)]
        violations = error_details_pb2.BadRequest.FromString(detail.value).field_violations
        assert [each.field for each in violations] == ["filter"]
        assert violations[0].description.startswith(message)


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_a_blank_filter_lets_everything_through(running: SimpleNamespace, text: str) -> None:
    response = running.stub.Recommend(pb.RecommendRequest(filter=text, page_size=1000))
    assert len(response.results) == 25
    assert response.metadata.filtered_out == 0


def test_what_was_asked_before_is_at_hand_and_cannot_be_changed(recommender: Recommender) -> None:
    filters = Filters(recommender.generation)
    first = filters.allowed("year > 1990")
    assert filters.allowed("year > 1990") is first
    with pytest.raises(ValueError, match="read-only"):
        first.flags[0] = False


def test_what_is_kept_of_filters_is_bounded(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepmoviematch.server.filtering.filters.KEPT_BYTES", 120)  # of 53 each
    filters = Filters(recommender.generation)
    kept = [filters.allowed(f"year > {year}") for year in (1990, 1991, 1992)]
    assert filters.allowed("year > 1992") is kept[2]
    assert filters.allowed("year > 1990") is not kept[0]


@pytest.mark.parametrize("passing", [0, 99, 100, 800])  # around an eighth
def test_a_filter_takes_no_more_than_is_reckoned_with(passing: int) -> None:
    allowed = Selection(np.arange(800) < passing)
    vectors = np.eye(800, 2, dtype=np.float32)
    FlatIndex.of(vectors).search(vectors[:1], 3, allowed=allowed)
    assert allowed.selector  # as a search by lists asks for
    rows = vars(allowed).get("rows", np.empty(0))
    assert ("rows" in vars(allowed)) == (0 < passing < 100)
    assert allowed.flags.nbytes + rows.nbytes + 800 / 8 <= 800 * ITEM_BYTES


def test_a_filter_that_keeps_coming_is_kept_whatever_else_comes(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepmoviematch.server.filtering.filters.KEPT", 8)
    filters = Filters(recommender.generation)
    kept = filters.allowed("year > 1990")
    for year in range(1900, 1930):
        assert filters.at_hand("year > 1990")
        for other in range(3):
            filters.allowed(f"year < {year} year > {other}")
        assert filters.allowed("year > 1990") is kept  # known a moment ago, it need not be compiled
    assert not filters.at_hand("year < 1900 year > 0")
    assert len(filters._recent) + len(filters._older) <= 8


def test_filters_let_go_of_their_generation_at_once(generation: Generation) -> None:
    again = replace(generation)
    filters, gone = Filters(again), weakref.ref(again)
    filters.allowed("title:heat genres:action year > 1990 tags:old")
    del again, filters
    assert gone() is None  # without waiting for a collection of garbage
