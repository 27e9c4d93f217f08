import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.data.columns import Column, Kind
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.tables import (
    TOP_STARS,
    Catalogue,
    Dataset,
    Ratings,
    RatingScale,
    pair_codes,
)


def catalogue(**changes: Any) -> Catalogue:
    values: dict[str, Any] = {
        "item_ids": ("1", "318", "x"),
        "titles": ("Toy Story", "Shawshank Redemption, The", "Untitled"),
        "years": np.array([1995, 1994, 0], dtype=np.int32),
        "genre_names": ("Comedy", "Drama"),
        "genres": np.array([[1, 0], [1, 1], [0, 0]], dtype=np.bool_),
    }
    return Catalogue(**(values | changes))


COLUMNS = (
    Column("runtime", Kind.NUMBER, (81.0, None, 142.0)),
    Column("adult", Kind.BOOLEAN, (False, True, None)),
    Column("studio", Kind.TEXT, ("Pixar", None, "Castle Rock")),
    Column("tags", Kind.LIST, (("pixar", "fun"), None, ("jail",))),
)


def ratings(**changes: Any) -> Ratings:
    """User a rates items 0 and 2, user b item 1, user c items 2 and 0."""
    values: dict[str, Any] = {
        "user_ids": ("a", "b", "c"),
        "users": np.array([0, 0, 1, 2, 2], dtype=np.int32),
        "items": np.array([0, 2, 1, 2, 0], dtype=np.int32),
        "ratings": np.array([4, 5, 1, 2, 3], dtype=np.float32),
        "timestamps": np.array([10, 20, 5, 1, 2], dtype=np.int64),
    }
    return Ratings(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"item_ids": ()}, "at least one item"),
        ({"titles": ("one",)}, "one title and one year"),
        ({"years": np.zeros(2, dtype=np.int32)}, "one title and one year"),
        ({"genres": np.zeros((3, 1), dtype=np.bool_)}, r"shape \(3, 2\), got \(3, 1\)"),
        ({"item_ids": ("1", "1", "x")}, "distinct, got 1"),
        ({"item_ids": ("1", "", "x")}, "must not be empty, got '' in row 1"),
        ({"genre_names": ("Comedy", "Comedy")}, "genre names must be distinct"),
        ({"columns": (*COLUMNS, COLUMNS[0])}, "distinct names, got runtime, adult"),
        ({"columns": (Column("runtime", Kind.NUMBER, (81.0,)),)}, "column runtime needs 3 values, got 1"),
    ],
)
def test_catalogue_refuses_what_breaks_a_rule(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        catalogue(**changes)


def test_catalogue_finds_rows_names_genres_and_labels_items() -> None:
    table = catalogue()
    assert (len(table), table.row_of["318"]) == (3, 1)
    assert [table.genres_of(row) for row in range(3)] == [("Comedy",), ("Comedy", "Drama"), ()]
    assert [table.label(0), table.label(2)] == ["Toy Story (1995)", "Untitled"]


def test_catalogue_comes_back_from_json_as_it_was() -> None:
    table = catalogue()
    back = Catalogue.from_json(json.loads(json.dumps(table.to_json())))
    assert back.to_json() == table.to_json()
    assert np.array_equal(back.genres, table.genres)
    assert back.years.dtype == np.int32


def test_catalogue_keeps_its_columns_in_json() -> None:
    back = Catalogue.from_json(json.loads(json.dumps(catalogue(columns=COLUMNS).to_json())))
    assert [(each.name, each.kind, each.values) for each in back.columns] == [
        (each.name, each.kind, each.values) for each in COLUMNS
    ]


def test_catalogue_of_an_older_version_has_no_columns() -> None:
    values = catalogue().to_json()
    del values["columns"]
    assert Catalogue.from_json(values).columns == ()


def column_of(kind: str, *values: object, **changes: object) -> dict[str, Any]:
    return {"columns": [{"name": "mine", "kind": kind, "values": [*values]} | changes]}


@pytest.mark.parametrize(
    "change",
    [
        {"years": "old"},
        {"genres": [[7], [], []]},
        {"titles": None},
        {"item_ids": 3},
        {"columns": 3},
        {"columns": [{}]},
        column_of("date", 1, 2, 3),
        column_of("number", 1, 2),
        column_of("number", 1, 2, 3, name=""),
        column_of("number", 1, 2, float("nan")),
        column_of("number", 1, 2, 10**400),
        column_of("number", 1, 2, [3]),
        column_of("boolean", True, False, 1),
        column_of("text", "a", "b", ["c"]),
        column_of("list", ["a"], None, [3]),
        column_of("list", ["a"], None, 3),
    ],
)
def test_catalogue_from_damaged_json_is_an_error(change: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        Catalogue.from_json(catalogue().to_json() | change)


def test_catalogue_from_json_with_a_part_missing_is_an_error() -> None:
    values = catalogue().to_json()
    del values["genres"]
    with pytest.raises(DataError, match="genres"):
        Catalogue.from_json(values)


@pytest.mark.parametrize(
    ("low", "top", "given_", "stars"),
    [
        (0.5, 5, [0.5, 3, 5], [0.5, 3, 5]),  # MovieLens stays
        (1, 10, [1, 7, 10], [0.5, 3.5, 5]),  # stretched
        (0, 1, [0, 1], [0, 5]),
        (-1, 1, [-1, 0, 1], [0.5, 2.75, 5]),  # shifted onto 0.5..5
        (1, 1, [1, 1], [5, 5]),  # nothing but praise
    ],
)
def test_scale_expresses_ratings_in_stars(
    low: float, top: float, given_: list[float], stars: list[float]
) -> None:
    scale = RatingScale(low, top)
    assert scale.stars(np.array(given_, dtype=np.float32)).tolist() == stars


@given(st.floats(-100, 100, width=32), st.floats(0.5, 100, width=32), st.floats(0, 1, width=32))
def test_scale_keeps_order_and_tops_at_five(low: float, span: float, share: float) -> None:
    scale = RatingScale(low, low + span)
    if low < 0 or scale.top > 0:
        stars = scale.stars(np.array([low, low + share * span, scale.top], dtype=np.float32))
        assert np.all(np.diff(stars) >= -1e-4)
        assert stars[-1] == pytest.approx(TOP_STARS, abs=1e-4)


@pytest.mark.parametrize(("low", "top"), [(2, 1), (np.nan, 1), (0, np.inf)])
def test_scale_refuses_a_range_without_ratings(low: float, top: float) -> None:
    with pytest.raises(DataError, match="finite low <= top"):
        RatingScale(low, top)


@pytest.mark.parametrize(("low", "top", "floor"), [(1, 5, 0.5), (0.5, 5, 0.5), (0, 5, 0), (-1, 1, -1)])
def test_scale_accepts_half_a_star_though_nobody_gave_it(low: float, top: float, floor: float) -> None:
    assert RatingScale(low, top).floor == floor


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"ratings": np.ones(4, dtype=np.float32)}, r"one length, got \[4, 5\]"),
        ({"timestamps": np.ones(4, dtype=np.int64)}, r"one length, got \[4, 5\]"),
        ({"ratings": np.array([1, 2, np.nan, 4, 5], dtype=np.float32)}, "finite"),
        ({"users": np.array([0, 1, 0, 2, 2], dtype=np.int32)}, "sorted by user"),
        ({"users": np.array([0, 0, 2, 2, 2], dtype=np.int32)}, "at least one rating"),
        ({"users": np.array([0, 0, 1, 1, 1], dtype=np.int32)}, "at least one rating"),
        ({"user_ids": ("a", "b", "a")}, "user ids must be distinct"),
        ({"items": np.array([0, 2, -1, 2, 0], dtype=np.int32)}, "rows of the catalogue, got -1"),
        ({"items": np.array([0, 0, 1, 2, 0], dtype=np.int32)}, "once, got a duplicate"),
    ],
)
def test_ratings_refuse_what_breaks_a_rule(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        ratings(**changes)


def test_ratings_refuse_to_be_empty() -> None:
    none = np.empty(0, dtype=np.int32)
    with pytest.raises(DataError, match="at least one rating, got none"):
        Ratings((), none, none, none.astype(np.float32), None)


def test_from_columns_sorts_by_user_then_time_then_file_order() -> None:
    table = Ratings.from_columns(
        ("a", "b"),
        np.array([1, 0, 1, 0, 0], dtype=np.int32),
        np.array([0, 1, 2, 3, 4], dtype=np.int32),
        np.array([1, 2, 3, 4, 5], dtype=np.float32),
        np.array([9, 5, 1, 2, 5], dtype=np.int64),
    )
    assert table.items.tolist() == [3, 1, 4, 2, 0]
    assert table.offsets.tolist() == [0, 3, 5]
    assert len(table) == 5


def test_from_columns_without_times_keeps_file_order() -> None:
    table = Ratings.from_columns(
        ("a", "b"),
        np.array([1, 0, 1], dtype=np.int32),
        np.array([5, 4, 3], dtype=np.int32),
        np.ones(3, dtype=np.float32),
        None,
    )
    assert (table.items.tolist(), table.timestamps) == ([4, 5, 3], None)


def test_take_keeps_the_flagged_rows_and_drops_users_without_any() -> None:
    part = ratings().take(np.array([1, 0, 0, 0, 1], dtype=np.bool_))
    assert part.user_ids == ("a", "c")
    assert (part.users.tolist(), part.items.tolist()) == ([0, 1], [0, 0])
    assert part.ratings.tolist() == [4, 3]
    assert part.timestamps is not None
    assert part.timestamps.tolist() == [10, 2]
    assert part.users.dtype == np.int32


def test_take_keeps_the_scale_of_the_whole() -> None:
    part = ratings().take(np.array([0, 0, 0, 1, 1], dtype=np.bool_))
    assert part.scale == RatingScale(1, 5)
    assert part.stars.tolist() == [2, 3]
    assert part.take(np.array([1, 0], dtype=np.bool_)).scale == RatingScale(1, 5)


def test_take_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one rating"):
        ratings().take(np.zeros(5, dtype=np.bool_))


def test_times_tell_an_order_where_someone_rated_twice_at_different_ones() -> None:
    assert ratings().tells_order
    assert not ratings(timestamps=None).tells_order
    each_at_once = np.array([3, 3, 2, 9, 9], dtype=np.int64)
    assert not ratings(timestamps=each_at_once).tells_order


def test_pair_codes_do_not_overflow_int32() -> None:
    top = np.array([2**31 - 2, 2**31 - 2], dtype=np.int32)
    codes = pair_codes(top, np.array([2**31 - 2, 0], dtype=np.int32), 2**31 - 1)
    assert codes.tolist() == [(2**31 - 2) * (2**31 - 1) + 2**31 - 2, (2**31 - 2) * (2**31 - 1)]


def test_dataset_refuses_ratings_of_items_it_does_not_have() -> None:
    odd = ratings(items=np.array([0, 3, 1, 2, 0], dtype=np.int32))
    with pytest.raises(DataError, match="catalogue of 3, got row 3"):
        Dataset("d", catalogue(), odd)


def test_digest_is_of_the_data_alone() -> None:
    same = Dataset("one", catalogue(), ratings())
    assert same.digest == Dataset("two", catalogue(), ratings(), dropped=("a row",)).digest


@pytest.mark.parametrize(
    "other",
    [
        Dataset("d", catalogue(titles=("Toy", "Shawshank Redemption, The", "Untitled")), ratings()),
        Dataset("d", catalogue(years=np.array([1995, 1994, 1], dtype=np.int32)), ratings()),
        Dataset("d", catalogue(), ratings(timestamps=None)),
        Dataset("d", catalogue(), replace(ratings(), ratings=np.array([4, 5, 1, 2, 4], dtype=np.float32))),
        Dataset("d", catalogue(), ratings(user_ids=("a", "b", "d"))),
    ],
    ids=["title", "year", "times", "rating", "user"],
)
def test_digest_changes_with_the_data(other: Dataset) -> None:
    assert other.digest != Dataset("d", catalogue(), ratings()).digest
