import json
from typing import Any

import numpy as np
import pytest

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.columns import Column, Kind
from deepmoviematch.data.errors import DataError
from tests.data.small import catalogue

COLUMNS = (
    Column("runtime", Kind.NUMBER, (81.0, None, 142.0)),
    Column("adult", Kind.BOOLEAN, (False, True, None)),
    Column("studio", Kind.TEXT, ("Pixar", None, "Castle Rock")),
    Column("tags", Kind.LIST, (("pixar", "fun"), None, ("jail",))),
)


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
    assert catalogue(titles=("", "", "")).label(1) == "318 (1994)"


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
        {"genres": [[-1], [], []]},
        {"genres": [[0], []]},
        {"genres": [[0], [], [], []]},
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
