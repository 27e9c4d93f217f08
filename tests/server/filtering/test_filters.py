"""Filters let through what plain Python lets through, compiled and over a real socket."""

import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest
from google.rpc import error_details_pb2
from hypothesis import given, strategies as st

from deepmoviematch.data.cells import FIELDS
from deepmoviematch.data.columns import Column, Kind
from deepmoviematch.indexer.generation import Generation, load
from deepmoviematch.server.errors import FilterError
from deepmoviematch.server.filtering.fields import Texts, fields_of
from deepmoviematch.server.filtering.filters import Filters
from deepmoviematch.server.filtering.syntax import Comparison, parse
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.v1 import recommender_pb2 as pb

Item: TypeAlias = dict[str, Any]
Outcome: TypeAlias = Callable[..., SimpleNamespace]
Tree: TypeAlias = Any
"""("and" | "or" | "not", trees) or (field, operator, value) or a word."""

GOLDEN = Path(__file__).parents[2] / "indexer" / "golden" / "v1"

NUMBERS = ("year", "popularity", "average_rating", "rating_count", "runtime")
TEXTS = ("title", "Studio")
LISTS = ("genres", "tags")


def known_of(generation: Generation) -> list[Item]:
    """Every item as a dictionary in which the unknown is missing."""
    catalogue = generation.catalogue
    items = []
    for row, item_id in enumerate(catalogue.item_ids):
        item: Item = {
            "item_id": item_id,
            "title": catalogue.titles[row],
            "year": int(catalogue.years[row]) or None,
            "genres": catalogue.genres_of(row),
            "popularity": float(generation.popularity[row]),
            **{column.name: column.values[row] for column in catalogue.columns},
        }
        items.append({name: value for name, value in item.items() if value not in (None, ())})
    return items


def satisfies(item: Item, tree: Tree) -> bool:
    """The oracle: what a filter means, as plainly as can be said."""
    match tree:
        case ("and", parts):
            return all(satisfies(item, part) for part in parts)
        case ("or", parts):
            return any(satisfies(item, part) for part in parts)
        case ("not", part):
            return not satisfies(item, part)
        case str():
            return like(item["title"], f"*{tree}*")
    field, operator, value = tree
    return field in item and ((operator, value) == (":", "*") or compares(item[field], *tree))


def compares(found: Any, field: str, operator: str, value: Any) -> bool:
    if field in LISTS:
        return any(like(each, value) for each in found)
    if field in NUMBERS:
        found, value = np.float32(found), np.float32(value)  # no threshold is nearer to a value than that
    elif field != "adult":
        if operator in {"=", "!=", ":"}:
            pattern = f"*{value}*" if operator == ":" else value
            return like(found, pattern, exact=field == "item_id") != (operator == "!=")
        found, value = found.casefold(), value.casefold()
    answers: dict[str, bool] = {
        "=": found == value,
        ":": found == value,
        "!=": found != value,
        "<": found < value,
        "<=": found <= value,
        ">": found > value,
        ">=": found >= value,
    }
    return answers[operator]


def like(text: str, pattern: str, *, exact: bool = False) -> bool:
    if not exact:
        text, pattern = text.casefold(), pattern.casefold()
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


words = st.sampled_from(
    ["film", "Number", "the", "star*", "*1", "300", "h*t", "'s", "é", "(", "or", "x y", "[REC]"]
)
parts_of_text = words | st.sampled_from(
    ["Heat", "Pixar", "a24", "warner*", "*bros.", "m*", "Toy Story", "", "*"]
)
comparisons = (
    st.tuples(
        st.sampled_from(NUMBERS),
        st.sampled_from([":", "=", "!=", "<", "<=", ">", ">="]),
        st.sampled_from([-1.0, 0, 0.2, 0.52, 3, 16, 49, 80.5, 101.5, 1982, 1995, 1e9]),
    )
    | st.tuples(
        st.sampled_from(TEXTS), st.sampled_from([":", "=", "!=", "<", "<=", ">", ">="]), parts_of_text
    )
    | st.tuples(
        st.sampled_from(LISTS),
        st.just(":"),
        st.sampled_from(["Comedy", "horror", "SCI-FI", "old", "space", "*o*", "Western", "*"]),
    )
    | st.tuples(st.just("adult"), st.sampled_from([":", "=", "!="]), st.booleans())
    | st.tuples(
        st.just("item_id"),
        st.sampled_from([":", "=", "!="]),
        st.sampled_from(["6", "m1", "M1", "tt-12", "m*"]),
    )
    | st.tuples(st.sampled_from([*NUMBERS, *TEXTS, *LISTS, "adult"]), st.just(":"), st.just("*"))
)
trees = st.recursive(
    words | comparisons,
    lambda trees: (
        st.tuples(st.sampled_from(["and", "or"]), st.lists(trees, min_size=2, max_size=3))
        | st.tuples(st.just("not"), trees)
    ),
    max_leaves=6,
)


class Writer:
    """Writes a tree as a filter, in one of the many ways that there are."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def _one_of(self, *ways: str) -> str:
        return self._draw(st.sampled_from(ways))

    def write(self, tree: Tree, *, inside: str = "") -> str:
        """`inside` says what binds the tree: nothing, "and", "or" or "not"."""
        match tree:
            case ("and", parts):
                written = self._one_of(" AND ", " ", "\t ").join(
                    self.write(part, inside="and") for part in parts
                )
                return written if inside in {"", "and"} and self._may() else f"({written})"
            case ("or", parts):
                written = " OR ".join(self.write(part, inside="or") for part in parts)
                # OR binds tighter than AND, so that it needs no parentheses there.
                return written if inside in {"", "and", "or"} and self._may() else f"({written})"
            case ("not", part):
                written = self._one_of("NOT ", "-") + self.write(part, inside="not")
                return written if inside != "not" else f"({written})"
            case str():
                return self._text(tree)
        field, operator, value = tree
        space = self._one_of("", " ")
        field = self._one_of(field, field.upper(), f'"{field}"')
        if isinstance(value, bool):
            value = self._one_of(str(value).lower(), f'"{value}"')
        elif isinstance(value, str):
            value = self._text(value)
        else:
            value = self._one_of(f"{value}", repr(float(value)), f"{value:.3e}", f"'{value}'")
        written = f"{field}{space}{operator}{space}{value}"
        return written if self._may() else f"({written})"

    def _may(self) -> bool:
        return self._draw(st.booleans())

    def _text(self, text: str) -> str:
        plain = re.fullmatch(r"[^\s()\"',=<>:!-][^\s()\",=<>:]*", text) and text not in {"or"}
        if plain and self._may():
            return text
        quote = self._one_of('"', "'")
        return quote + text.replace("\\", r"\\").replace(quote, f"\\{quote}") + quote


@st.composite
def filters(draw: st.DrawFn) -> tuple[str, Tree]:
    """A filter, and the tree that it means."""
    tree = draw(trees)
    return Writer(draw).write(tree), tree


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


def test_every_field_of_an_item_is_there(generation: Generation) -> None:
    further = tuple(column.name for column in generation.catalogue.columns)
    assert {*fields_of(generation)} == {*FIELDS, *further}


def test_a_generation_of_an_older_version_lacks_what_it_does_not_know() -> None:
    filters = Filters(load(GOLDEN))
    assert filters.allowed("genres:comedy year > 1990 popularity > 0").count
    with pytest.raises(FilterError, match='must compare a field of the catalogue, got "rating_count"'):
        filters.allowed("rating_count > 3")


def columns(*given_: tuple[str, Kind, Any]) -> Callable[[Generation], Filters]:
    def of(generation: Generation) -> Filters:
        size = len(generation.catalogue)
        made = (Column(name, kind, (value,) + (None,) * (size - 1)) for name, kind, value in given_)
        return Filters(replace(generation, catalogue=replace(generation.catalogue, columns=tuple(made))))

    return of


def test_columns_that_differ_in_case_must_be_spelt_out(generation: Generation) -> None:
    filters = columns(("Length", Kind.NUMBER, 1.0), ("length", Kind.NUMBER, 2.0))(generation)
    assert filters.allowed("Length = 1").flags[0]
    assert not filters.allowed("length = 1").flags[0]
    with pytest.raises(
        FilterError, match='spell a field as the data do, got "LENGTH" at character 1; say Length or'
    ):
        filters.allowed("LENGTH = 1")


def test_a_field_may_have_any_name(generation: Generation) -> None:
    filters = columns(('Box "office" ($)', Kind.NUMBER, 5.0), ("movies.title", Kind.TEXT, "x"))(generation)
    assert filters.allowed(r'"box \"office\" ($)" > 4 movies.title = X').count == 1


def test_averages_are_compared_in_the_precision_of_ratings(generation: Generation) -> None:
    average = float(np.float32(0.7))  # of an item that was rated 0.7 and nothing else
    filters = columns(("average_rating", Kind.NUMBER, average), ("budget", Kind.NUMBER, 2.0**53 - 1))(
        generation
    )
    assert filters.allowed("average_rating <= 0.7 average_rating >= 0.7 average_rating < 1e300").flags[0]
    assert filters.allowed("budget = 9007199254740991 budget != 9007199254740990").flags[0]


def test_what_was_asked_before_is_at_hand_and_cannot_be_changed(recommender: Recommender) -> None:
    filters = Filters(recommender.generation)
    first = filters.allowed("year > 1990")
    assert filters.allowed("year > 1990") is first
    with pytest.raises(ValueError, match="read-only"):
        first.flags[0] = False


def test_what_is_kept_of_filters_is_bounded(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepmoviematch.server.filtering.filters.KEPT_BYTES", 60)  # of 25 each
    filters = Filters(recommender.generation)
    kept = [filters.allowed(f"year > {year}") for year in (1990, 1991, 1992)]
    assert filters.allowed("year > 1992") is kept[2]
    assert filters.allowed("year > 1990") is not kept[0]


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


def test_a_batch_serves_the_filter_of_each_request(running: SimpleNamespace) -> None:
    texts = ["genres:Horror", "year < 1990", "", "year >", "title:none-such"]
    requests = [pb.RecommendRequest(filter=text, page_size=30) for text in texts]
    responses = running.stub.BatchRecommend(pb.BatchRecommendRequest(requests=requests)).responses
    for request, response in zip(requests[:3], responses[:3], strict=True):
        assert response == running.stub.Recommend(request)
    assert responses[3].status.message.startswith("filter must have a value, got the end at character 7")
    assert (len(responses[4].results), responses[4].metadata.exhausted) == (0, True)


def test_the_different_filters_of_a_batch_are_bounded(running: SimpleNamespace, outcome: Outcome) -> None:
    def batch(*filters: str) -> pb.BatchRecommendRequest:
        return pb.BatchRecommendRequest(requests=[pb.RecommendRequest(filter=each) for each in filters])

    many = " ".join(["a"] * 49)
    assert outcome(running.stub.BatchRecommend, batch(*[f"{many} b"] * 200)).code == "OK"
    assert outcome(running.stub.BatchRecommend, batch(*(f"{many} {n}" for n in range(10)))).code == "OK"
    for refused, rule in (
        ([f"{many} {n}" for n in range(11)], "500 conditions and stars in their different filters, got 550;"),
        (
            ["(" * 3999 + str(n) for n in range(10)] + ["+"],
            "40000 bytes in their different filters, got 40001;",
        ),
    ):
        ended = outcome(running.stub.BatchRecommend, batch(*refused))
        assert ended.code == "INVALID_ARGUMENT"
        assert ended.status.message.startswith(f"requests must have at most {rule}")
