"""Which fields filters may ask of an item, and how their values are compared."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmoviematch.data.cells import FIELDS
from deepmoviematch.data.columns import Column, Kind
from deepmoviematch.indexer.generation import Generation, load
from deepmoviematch.server.errors import FilterError
from deepmoviematch.server.filtering.fields import FEW_TEXTS, Lists, fields_of
from deepmoviematch.server.filtering.filters import Filters

GOLDEN = Path(__file__).parents[2] / "indexer" / "golden" / "v1"


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


def test_texts_that_are_spelt_nearly_so_are_those_that_some_item_has() -> None:
    rows = np.arange(2)
    few = Lists(2, ("Horror", "Horrors", "Terrier"), rows, rows)
    assert few.near("horro") == ["horror", "horrors"]
    assert few.near("terrie") == []
    many = np.arange(FEW_TEXTS + 1)
    assert Lists(len(many), map(str, many), many, many).near("7") == []
