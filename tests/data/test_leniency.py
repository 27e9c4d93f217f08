"""Bad rows that are dropped and counted instead of refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deepmoviematch.data.errors import DataError
from deepmoviematch.data.readers import read
from tests.data.shown import triples

Writer = Callable[..., Path]

HEADER = "userId,movieId,rating,timestamp\n"
GOOD = "b,1,4.0,964982703\n"
MOVIES = "movieId,title,genres\n1,Toy Story (1995),Comedy\n"


def test_lenient_reading_drops_and_counts_rows_by_rule(canonical: Writer) -> None:
    folder = canonical(
        ratings=(HEADER + GOOD).encode()
        + b"\xe9,1,4,1\nonly\n,1,4,1\nc,1,NaN,1\nc,1,x,1\nc,318,4,1\nc,7,4,-1\nb,1,1,1\na,9,2,7\n",
        movies=MOVIES + "7,Amélie,\n9,Nine,\n7,Again,\n,Nameless,\n",
    )
    data = read(folder, lenient=True)
    assert triples(data) == [("b", "1", 4), ("a", "9", 2)]
    assert data.ratings.user_ids == ("b", "a")
    assert data.catalogue.titles == ("Toy Story", "Amélie", "Nine")
    assert data.dropped == (
        "movies.csv: 1 row dropped: a movie may be listed once",
        "movies.csv: 1 row dropped: a movie id must not be empty",
        "ratings.csv: 1 row dropped: text must be UTF-8",
        "ratings.csv: 1 row dropped: a row must have 4 columns",
        "ratings.csv: 1 row dropped: a user id must not be empty",
        "ratings.csv: 2 rows dropped: a rating must be a finite number",
        "ratings.csv: 1 row dropped: a rated movie must be in the catalogue",
        "ratings.csv: 1 row dropped: a timestamp must be whole seconds since 1970, before the year 2100",
        "ratings.csv: 1 row dropped: a user may rate a movie once",
    )


def test_lenient_reading_counts_all_rows_that_an_open_quote_swallows(canonical: Writer) -> None:
    folder = canonical(
        ratings=HEADER + GOOD + '"a,1,4,1\nc,1,4,1\nd,1,4,1\n',
        movies=MOVIES + '2,"Jumanji,Comedy\n3,Heat,\n4,"Babe,Comedy\n5,Seven,\n',
    )
    data = read(folder, lenient=True)
    assert data.catalogue.titles == ("Toy Story", "Seven")
    assert triples(data) == [("b", "1", 4)]
    assert data.dropped == (
        "movies.csv: 3 rows dropped: a row must be valid CSV",
        "ratings.csv: 3 rows dropped: a row must be valid CSV",
    )


def test_lenient_reading_does_not_forgive_an_open_quote_in_the_header(canonical: Writer) -> None:
    with pytest.raises(DataError, match=r"ratings\.csv:1: a row must be valid CSV"):
        read(canonical(ratings='"' + HEADER + GOOD), lenient=True)


def test_lenient_reading_of_good_data_drops_nothing(canonical: Writer) -> None:
    assert read(canonical(), lenient=True).digest == read(canonical()).digest
    assert read(canonical(), lenient=True).dropped == ()


def test_lenient_reading_does_not_forgive_a_missing_column(canonical: Writer) -> None:
    with pytest.raises(DataError, match="column rating is missing"):
        read(canonical(ratings="userId,movieId\n1,1\n"), lenient=True)


def test_lenient_reading_needs_a_row_to_be_left(canonical: Writer) -> None:
    with pytest.raises(
        DataError, match=r"at least one rating, got none; ratings\.csv: 1 row dropped: a rating must"
    ):
        read(canonical(ratings=HEADER + "1,1,x,1\n"), lenient=True)
    with pytest.raises(
        DataError, match=r"at least one movie, got none; movies\.csv: 1 row dropped: a movie id"
    ):
        read(canonical(movies="movieId,title\n,Heat\n"), lenient=True)
