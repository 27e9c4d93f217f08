import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from deepmoviematch.data.errors import DataError
from deepmoviematch.data.readers import read
from tests.data.shown import devices, further, genres, triples


def write_parquet(folder: Path, *, ratings: dict[str, Any], movies: dict[str, Any] | None = None) -> Path:
    movies = movies or {"movieId": [1, 2], "title": ["Toy Story (1995)", "Heat"], "genres": ["Comedy", None]}
    parquet.write_table(pa.table(ratings), folder / "ratings.parquet")
    parquet.write_table(pa.table(movies), folder / "movies.parquet")
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"userId": ["7", "8", "7"]},
        {"userId": pa.array(["7", "8", "7"]).dictionary_encode()},
        {"userId": pa.array(["7", "8", "7"], pa.large_string())},
        {"movieId": pa.array([1, 2, 2], pa.uint16())},
        {"rating": pa.array([4, 3, 5], pa.int8())},
        {"timestamp": [30.0, 20.0, 10.0]},
        {"timestamp": pa.array([30_999, 20_000, 10_000], pa.timestamp("ms"))},
        {"more": [None, 1, 2]},
        {"device": pa.array(["TV", None, "tv"]).dictionary_encode()},
    ],
    ids=[
        *("plain", "text", "dictionary", "large", "uint16", "int8", "doubles", "timestamps", "more columns"),
        "devices",
    ],
)
def test_parquet_is_read_whatever_its_types(tmp_path: Path, changes: dict[str, Any]) -> None:
    columns = {
        "userId": [7, 8, 7],
        "movieId": [1, 2, 2],
        "rating": [4.0, 3.0, 5.0],
        "timestamp": [30, 20, 10],
    }
    data = read(write_parquet(tmp_path, ratings=columns | changes))
    assert triples(data) == [("7", "2", 5), ("7", "1", 4), ("8", "2", 3)]
    assert data.ratings.timestamps is not None
    assert data.ratings.timestamps.tolist() == [10, 30, 20]
    assert data.catalogue.years.tolist() == [1995, 0]
    assert genres(data) == [("Comedy",), ()]
    if "device" in changes:
        assert devices(data) == ["tv", "tv", None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"userId": [7, None, 8]}, "ratings.parquet: row 2: a user id must not be empty, got ''"),
        ({"movieId": [1, 2, 3]}, "ratings.parquet: row 3: a rated movie must be in the catalogue, got '3'"),
        (
            {"rating": [1.0, np.nan, 2.0]},
            "ratings.parquet: row 2: a rating must be a finite number, got 'nan'",
        ),
        ({"rating": [1.0, 2.0, None]}, "ratings.parquet: row 3: a rating must be a finite number, got ''"),
        ({"rating": ["4", "5", "3"]}, "ratings.parquet: column rating must be numbers, got string"),
        (
            {"userId": [1.0, 2.0, 3.0]},
            "ratings.parquet: column userId must be text or whole numbers, got double",
        ),
        ({"timestamp": [1, 2, -3]}, "ratings.parquet: row 3: a timestamp must be whole seconds"),
        ({"userId": [7, 8, 7], "movieId": [2, 2, 2]}, "ratings.parquet: row 3: a user may rate a movie once"),
        ({"userId": ["a", "b\0", "c"]}, "ratings.parquet: row 2: text must not hold NUL bytes"),
    ],
)
def test_bad_parquet_is_refused_with_place_and_value(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    columns = {"userId": [7, 8, 9], "movieId": [1, 2, 2], "rating": [4.0, 3.0, 5.0], "timestamp": [1, 2, 3]}
    with pytest.raises(DataError, match=re.escape(message)):
        read(write_parquet(tmp_path, ratings=columns | changes))


def test_parquet_tells_the_kinds_of_further_columns(tmp_path: Path) -> None:
    movies = {
        "movieId": [1, 2],
        "title": ["Toy Story", "Heat (1995)"],
        "year": [1995.0, None],
        "runtime": pa.array([81.1, None], pa.float32()),
        "adult": [True, None],
        "tags": [["pixar", None], None],
        "studio": pa.array(["Pixar", "Warner"]).dictionary_encode(),
        "released": [date(1995, 11, 22), None],
        "embedding": [[1.0], [2.0]],
    }
    columns = {"userId": [7, 7], "movieId": [1, 2], "rating": [4.0, 5.0]}
    data = read(write_parquet(tmp_path, ratings=columns, movies=movies))
    assert data.catalogue.years.tolist() == [1995, 1995]
    assert further(data) == {
        "runtime": ("number", (81.1, None)),
        "adult": ("boolean", (True, None)),
        "tags": ("list", (("pixar",), None)),
        "studio": ("text", ("Pixar", "Warner")),
        "released": ("text", ("1995-11-22", None)),
    }
    assert data.dropped == (
        "movies.parquet: column embedding is left out: "
        "it must be text, numbers, booleans, times or lists of text, got list<element: double>",
    )


@pytest.mark.parametrize("number", [pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_no_tags_and_numbers_that_are_none_are_unknown(number: pa.DataType, tmp_path: Path) -> None:
    movies = {
        "movieId": [1, 2, 3],
        "title": ["Toy Story", "Heat", "Alien"],
        "year": [1995.0, np.nan, None],
        "runtime": pa.array(np.array([81.5, np.nan, 117], np.float16)).cast(number),
        "tags": [["pixar"], [], None],
        "none": pa.array([[], None, []], pa.list_(pa.string())),
    }
    columns = {"userId": [7, 7], "movieId": [1, 2], "rating": [4.0, 5.0]}
    data = read(write_parquet(tmp_path, ratings=columns, movies=movies))
    assert data.catalogue.years.tolist() == [1995, 0, 0]
    assert further(data) == {
        "runtime": ("number", (81.5, None, 117.0)),
        "tags": ("list", (("pixar",), None, None)),
        "none": ("text", (None, None, None)),
    }


def test_genres_may_be_lists(tmp_path: Path) -> None:
    movies = {
        "movieId": [1, 2, 3],
        "title": ["Toy Story", "Heat", "Alien"],
        "genres": [["Comedy", "Children's"], None, []],
    }
    columns = {"userId": [7, 7], "movieId": [1, 2], "rating": [4.0, 5.0]}
    data = read(write_parquet(tmp_path, ratings=columns, movies=movies))
    assert genres(data) == [("Children's", "Comedy"), (), ()]


def test_a_year_that_is_none_is_refused_in_parquet_too(tmp_path: Path) -> None:
    movies = {"movieId": [1, 2, 3], "title": ["Toy Story", "Heat", "Alien"], "year": [1995, 19951, None]}
    columns = {"userId": [7, 7], "movieId": [1, 2], "rating": [4.0, 5.0]}
    folder = write_parquet(tmp_path, ratings=columns, movies=movies)
    with pytest.raises(DataError, match=r"movies\.parquet: row 2: a year must be .*, got '19951'"):
        read(folder)
    assert read(folder, lenient=True).catalogue.years.tolist() == [1995, 0, 0]


def test_lenient_reading_of_parquet_counts_rows(tmp_path: Path) -> None:
    columns = {"userId": [7, None, 9], "movieId": [1, 2, 2], "rating": [4.0, 3.0, None]}
    data = read(write_parquet(tmp_path, ratings=columns), lenient=True)
    assert triples(data) == [("7", "1", 4)]
    assert data.dropped == (
        "ratings.parquet: 1 row dropped: a user id must not be empty",
        "ratings.parquet: 1 row dropped: a rating must be a finite number",
    )


@pytest.mark.parametrize("contents", [b"", b"userId,movieId,rating\n", b"PAR1" + bytes(20) + b"PAR1"])
def test_what_is_not_parquet_is_refused(tmp_path: Path, contents: bytes) -> None:
    write_parquet(tmp_path, ratings={"userId": [1], "movieId": [1], "rating": [1.0]})
    (tmp_path / "ratings.parquet").write_bytes(contents)
    with pytest.raises(DataError, match=re.escape("ratings.parquet: the file must be Parquet")):
        read(tmp_path)


def test_what_is_not_parquet_is_told_in_a_whole_sentence(tmp_path: Path) -> None:
    write_parquet(tmp_path, ratings={"userId": [1], "movieId": [1], "rating": [1.0]})
    (tmp_path / "ratings.parquet").write_bytes(b"userId,movieId,rating\n")
    with pytest.raises(DataError, match=r"got Parquet magic bytes not found in footer$"):
        read(tmp_path)


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    columns = {"userId": range(1000), "movieId": [1] * 1000, "rating": [4.0] * 1000}
    file = write_parquet(tmp_path, ratings=columns) / "ratings.parquet"
    contents = bytearray(file.read_bytes())
    contents[4:400] = bytes(396)
    file.write_bytes(contents)
    with pytest.raises(DataError, match="must be readable"):
        read(tmp_path)


def test_parquet_with_a_column_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    file = (
        write_parquet(tmp_path, ratings={"userId": [1], "movieId": [1], "rating": [1.0]}) / "ratings.parquet"
    )
    file.write_bytes(file.read_bytes().replace(b"userId", b"u\xffer_d"))
    with pytest.raises(DataError, match=re.escape("ratings.parquet: the file must be Parquet")):
        read(tmp_path)


def test_parquet_without_a_column_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path, ratings={"userId": [1], "rating": [1.0]})
    with pytest.raises(DataError, match=re.escape("ratings.parquet: column movieId is missing")):
        read(tmp_path)
