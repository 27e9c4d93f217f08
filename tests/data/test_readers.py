"""Every accepted form, and every way in which data can be bad."""

import gzip
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepmoviematch.data.columns import Kind
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.readers import read
from tests.data.shown import devices, further, genres, triples

Writer = Callable[..., Path]

HEADER = "userId,movieId,rating,timestamp\n"

GOOD = "b,1,4.0,964982703\n"


def test_canonical_csv_is_read(canonical: Writer) -> None:
    data = read(canonical())
    assert data.catalogue.item_ids == ("1", "0318", "7", "9")
    assert data.catalogue.titles == (
        "Toy Story",
        "Shawshank Redemption, The",
        'Amélie "of" Montmartre',
        "Blade Runner 2049",
    )
    assert data.catalogue.years.tolist() == [1995, 1994, 2001, 0]
    assert data.catalogue.genre_names == ("Animation", "Comedy", "Drama", "Romance")
    assert genres(data) == [("Animation", "Comedy"), ("Drama",), ("Comedy", "Romance"), ()]
    assert data.ratings.user_ids == ("b", "a")
    assert triples(data) == [("b", "7", 0.5), ("b", "1", 4), ("a", "0318", 5), ("a", "1", 3.5)]
    assert data.ratings.timestamps is not None
    assert data.ratings.timestamps.tolist() == [964982600, 964982703, 964982800, 964982900]
    assert data.dropped == ()


def test_columns_have_the_types_of_the_tables(canonical: Writer) -> None:
    data = read(canonical())
    table = data.ratings
    assert table.timestamps is not None
    found = [column.dtype for column in (table.users, table.items, table.ratings, table.timestamps)]
    assert found == [np.int32, np.int32, np.float32, np.int64]
    assert [data.catalogue.years.dtype, data.catalogue.genres.dtype] == [np.int32, np.bool_]


def test_name_is_the_folders(canonical: Writer, tmp_path: Path) -> None:
    assert read(canonical()).name == tmp_path.name


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: b"\n" + text + b"\n\n",
        lambda text: text.rstrip(b"\n"),
    ],
    ids=["CRLF", "byte order mark", "blank lines", "no last newline"],
)
def test_ways_of_writing_csv_make_no_difference(canonical: Writer, change: Callable[[bytes], bytes]) -> None:
    folder = canonical()
    plain = read(folder).digest
    for name in ("ratings.csv", "movies.csv"):
        (folder / name).write_bytes(change((folder / name).read_bytes()))
    assert read(folder).digest == plain


def test_further_columns_of_movies_are_kept_and_typed(canonical: Writer) -> None:
    movies = (
        "movieId,runtime,title,tags,genres, adult ,studio\n"
        "1,81,Toy Story (1995),pixar|fun,Comedy,false,Pixar\n"
        "0318,,Heat (1995),,Crime,,Warner\n"
        "7,122.5,Amélie (2001),paris,Comedy,TRUE,\n"
    )
    data = read(canonical(movies=movies))
    assert further(data) == {
        "runtime": ("number", (81.0, None, 122.5)),
        "tags": ("list", (("pixar", "fun"), None, ("paris",))),
        "adult": ("boolean", (False, None, True)),
        "studio": ("text", ("Pixar", "Warner", None)),
    }
    assert data.dropped == ()


def test_a_column_of_another_meaning_does_not_hide_a_field(canonical: Writer) -> None:
    movies = "movieId,title,genres,Popularity\n1,Toy Story (1995),,3\n0318,A,,2\n7,B,,1\n"
    assert further(read(canonical(movies=movies))) == {"movies.Popularity": ("number", (3.0, 2.0, 1.0))}


def test_a_year_of_its_own_counts_where_the_title_has_none(canonical: Writer) -> None:
    movies = (
        "movieId,title,year\n"
        "1,Toy Story (1995),1996\n0318,Heat, 1986 \n7,Amélie,\n9,Alien, \n10,Solo,2018.0\n11,,1999\n"
    )
    data = read(canonical(movies=movies))
    assert data.catalogue.titles == ("Toy Story", "Heat", "Amélie", "Alien", "Solo", "")
    assert data.catalogue.years.tolist() == [1995, 1986, 0, 0, 2018, 1999]
    assert further(data) == {}


@pytest.mark.parametrize("year", ["19951", "-3", "0", "79", "1995.5", "2101", "nan", "unknown", "nineteen"])
@pytest.mark.parametrize("title", ["Heat", "Heat (1995)"])
def test_a_year_that_is_none_is_refused_and_leniency_drops_the_year_alone(
    canonical: Writer, title: str, year: str
) -> None:
    folder = canonical(movies=f"movieId,year,title\n1,1995,Toy Story\n0318,{year},{title}\n7,,Amélie\n")
    rule = "a year must be a whole number from 1000 to 2100, or left empty where it is unknown"
    with pytest.raises(DataError, match=re.escape(f"movies.csv:3: {rule}, got {year!r}")):
        read(folder)
    data = read(folder, lenient=True)
    assert data.catalogue.titles == ("Toy Story", "Heat", "Amélie")
    assert data.catalogue.years.tolist() == [1995, 1995 if "1995" in title else 0, 0]
    assert len(data.ratings) == 4
    assert data.dropped == (f"movies.csv: 1 cell dropped: {rule}",)


def test_a_column_without_a_name_is_left_out_and_said(canonical: Writer) -> None:
    movies = ",movieId,title\n0,1,Toy Story (1995)\n1,0318,A\n2,7,B\n"
    data = read(canonical(movies=movies))
    assert further(data) == {}
    assert data.dropped == ("movies.csv:1: a column without a name is left out",)


def test_columns_are_found_by_name(canonical: Writer) -> None:
    plain = read(canonical()).digest
    shuffled = canonical(
        ratings="rating,note, timestamp ,movieId,userId\n"
        "4.0,x,964982703,1,b\n5.0,,964982800,0318,a\n0.5,,964982600,7,b\n3.5,,964982900,1,a\n"
    )
    assert read(shuffled).digest == plain


def test_times_and_genres_may_be_absent(canonical: Writer) -> None:
    data = read(
        canonical(ratings="userId,movieId,rating\nb,y,2\na,x,1\n", movies="movieId,title\nx,Ecks\ny,Why\n")
    )
    assert data.ratings.timestamps is None
    assert data.catalogue.genre_names == ()
    assert data.catalogue.genres.shape == (2, 0)
    assert triples(data) == [("b", "y", 2), ("a", "x", 1)]


@pytest.mark.parametrize("timed", [True, False], ids=["with times", "without"])
def test_a_column_of_devices_is_read_without_regard_to_case(canonical: Writer, timed: bool) -> None:
    rows = ["b,1,4.0,TV", "b,7,0.5,", "a,0318,5.0, tv ", "a,1,3.5,Phone"]
    times = [",964982703", ",964982800", ",964982900", ",964982950"] if timed else [""] * 4
    lines = ["userId,movieId,rating,device" + ",timestamp" * timed]
    lines += [row + time for row, time in zip(rows, times, strict=True)]
    data = read(canonical(ratings="\n".join(lines)))
    assert triples(data) == [("b", "1", 4), ("b", "7", 0.5), ("a", "0318", 5), ("a", "1", 3.5)]
    assert devices(data) == ["tv", None, "tv", "phone"]
    assert (data.ratings.timestamps is not None) == timed


@pytest.mark.parametrize("cell", ["NA", "nan", "null", "N/A"])
def test_a_word_for_unknown_that_makes_text_of_numbers_is_named(canonical: Writer, cell: str) -> None:
    prices = ["1", cell, "", cell, "2.5"]
    movies = "\n".join(["movieId,title,price", *(f"{row},T,{price}" for row, price in enumerate(prices))])
    data = read(canonical(movies=movies, ratings="userId,movieId,rating\n1,1,4\n"))
    assert data.catalogue.columns[0].kind is Kind.TEXT
    assert data.dropped == (
        f"movies.csv:3: column price is text, not numbers, got {cell!r}; leave unknown cells empty",
    )


@pytest.mark.parametrize(("numbers", "notes"), [(10, 1), (9, 0)])
def test_another_word_is_named_where_nearly_all_cells_are_numbers(
    canonical: Writer, numbers: int, notes: int
) -> None:
    sizes = ["large", *map(str, range(numbers))]
    movies = "\n".join(["movieId,title,size", *(f"{row},T,{size}" for row, size in enumerate(sizes))])
    data = read(canonical(movies=movies, ratings="userId,movieId,rating\n1,1,4\n"))
    assert len(data.dropped) == notes


def test_a_long_device_is_refused_or_dropped(canonical: Writer) -> None:
    folder = canonical(ratings=f"userId,movieId,rating,device\nb,1,4,tv\na,1,5,{'x' * 257}\n")
    with pytest.raises(DataError, match=r"ratings.csv:3: a device must have at most 256 bytes, got 257: xxx"):
        read(folder)
    data = read(folder, lenient=True)
    assert devices(data) == ["tv"]
    assert data.dropped == ("ratings.csv: 1 row dropped: a device must have at most 256 bytes",)


def test_data_without_devices_have_the_digest_that_they_always_had(canonical: Writer) -> None:
    plain = read(canonical())
    assert plain.ratings.devices is None
    named = canonical(ratings="userId,movieId,rating,device\nb,1,4,tv\na,1,5,phone\n")
    other = named.parent / "other"
    shutil.copytree(named, other)
    (other / "ratings.csv").write_text("userId,movieId,rating,device\nb,1,4,tv\na,1,5,tv\n")
    assert read(named).digest != read(other).digest


def test_ids_are_what_is_written(canonical: Writer) -> None:
    with pytest.raises(DataError, match=re.escape("ratings.csv:2: a rated movie must be in the catalogue")):
        read(canonical(ratings=HEADER + "1,318,4,1\n"))


# Rows of the ratings, each with the line and the words of the error.
BAD_RATINGS: list[tuple[str, str | bytes, str]] = [
    ("empty file", "", "ratings.csv: the file must start with a header line"),
    ("header only", HEADER, "ratings.csv: there must be at least one rating, got none"),
    (
        "no column",
        "userId,movieId,stars\n1,1,4\n",
        "ratings.csv:1: column rating is missing, got 'userId, movieId, stars'; where nobody rates",
    ),
    (
        "other separator",
        HEADER.replace(",", ";"),
        "got 'userId;movieId;rating;timestamp'; columns must be separated by commas",
    ),
    (
        "column twice",
        "userId,movieId,rating,rating\n",
        "ratings.csv:1: column rating must be there once, got 2",
    ),
    (
        "UTF-16",
        HEADER.encode("utf-16"),
        "ratings.csv: the file must be text in UTF-8, got UTF-16; save it as UTF-8",
    ),
    ("gzip", gzip.compress(HEADER.encode()), "the file must be text in UTF-8, got gzip; unpack it"),
    ("UTF-16 without its mark", HEADER.encode("utf-16-le"), "ratings.csv:1: text must not hold NUL bytes"),
    (
        "not UTF-8",
        (HEADER + GOOD).encode() + b"\xe9,1,4,1\n",
        r"ratings.csv:3: text must be UTF-8, got b'\xe9'",
    ),
    ("NUL", HEADER + GOOD + "a\0,1,4,1\n", r"ratings.csv:3: text must not hold NUL bytes, got b'a\x00'"),
    ("too few cells", HEADER + GOOD + "a,1,4\n", "ratings.csv:3: a row must have 4 columns, got 3"),
    ("too many cells", HEADER + GOOD + "a,1,4,1,1\n", "ratings.csv:3: a row must have 4 columns, got 5"),
    (
        "open quote",
        HEADER + 'a,"1,4,1\n' + GOOD,
        "ratings.csv:2: a row must be valid CSV, got a quote that is never closed",
    ),
    ("no user", HEADER + GOOD + ",1,4,1\n", "ratings.csv:3: a user id must not be empty, got ''"),
    ("no movie", HEADER + GOOD + "a, ,4,1\n", "ratings.csv:3: a movie id must not be empty, got ' '"),
    ("no rating", HEADER + GOOD + "a,1,,1\n", "ratings.csv:3: a rating must be a finite number, got ''"),
    ("word", HEADER + GOOD + "a,1,good,1\n", "ratings.csv:3: a rating must be a finite number, got 'good'"),
    ("NaN", HEADER + GOOD + "a,1,NaN,1\n", "ratings.csv:3: a rating must be a finite number, got 'NaN'"),
    ("infinity", HEADER + GOOD + "a,1,inf,1\n", "ratings.csv:3: a rating must be a finite number, got 'inf'"),
    (
        "float32",
        HEADER + GOOD + "a,1,1e39,1\n",
        "ratings.csv:3: a rating must be from -3.4e+38 to 3.4e+38, got '1e39'",
    ),
    ("no time", HEADER + GOOD + "a,1,4,\n", "ratings.csv:3: a timestamp must be whole seconds"),
    ("date", HEADER + GOOD + "a,1,4,2020-01-01\n", "ratings.csv:3: a timestamp must be whole seconds"),
    ("before 1970", HEADER + GOOD + "a,1,4,-1\n", "ratings.csv:3: a timestamp must be whole seconds"),
    (
        "milliseconds",
        HEADER + GOOD + "a,1,4,1600000000000\n",
        "got '1600000000000'; divide milliseconds by 1000; --",
    ),
    ("half a second", HEADER + GOOD + "a,1,4,1.5\n", "ratings.csv:3: a timestamp must be whole seconds"),
    ("unknown movie", HEADER + GOOD + "a,318,4,1\n", "must be in the catalogue, got '318'"),
    (
        "twice",
        HEADER + GOOD + "\na,1,4,1\n" + GOOD,
        "ratings.csv:5: a user may rate a movie once, got user 'b' and movie '1' again "
        "(first at ratings.csv:2); --lenient drops and counts such rows",
    ),
]


@pytest.mark.parametrize(
    ("ratings", "message"), [case[1:] for case in BAD_RATINGS], ids=[c[0] for c in BAD_RATINGS]
)
def test_bad_ratings_are_refused_with_place_and_value(
    canonical: Writer, ratings: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read(canonical(ratings=ratings))


MOVIES = "movieId,title,genres\n1,Toy Story (1995),Comedy\n"

BAD_MOVIES: list[tuple[str, str | bytes, str]] = [
    ("empty file", "", "movies.csv: the file must start with a header line"),
    (
        "header only",
        "movieId,title,genres\n",
        "movies.csv: a catalogue must hold at least one movie, got none",
    ),
    ("no title", "movieId,name\n1,Toy\n", "movies.csv:1: column title is missing, got 'movieId, name'"),
    ("no id", MOVIES + ",Jumanji,Comedy\n", "movies.csv:3: a movie id must not be empty, got ''"),
    ("twice", MOVIES + "1,Jumanji,Comedy\n", "movies.csv:3: a movie may be listed once, got id '1' again"),
    ("ragged", MOVIES + "2,Jumanji, the game,Comedy\n", "movies.csv:3: a row must have 3 columns, got 4"),
    (
        "not UTF-8",
        MOVIES.encode() + "2,Amélie,\n".encode("latin-1"),
        r"movies.csv:3: text must be UTF-8, got b'Am\xe9",
    ),
    ("NUL", MOVIES + "2,Jum\0nji,\n", "movies.csv:3: text must not hold NUL bytes"),
    (
        "huge cell",
        MOVIES + f"2,{'x' * 200_000},\n",
        "movies.csv:3: a row must be valid CSV, got field larger",
    ),
    (
        "stray quotes",
        MOVIES + '2,"Jumanji,Comedy\n3,Heat,\n4,"Babe,Comedy\n',
        "movies.csv:3: a row must be valid CSV, got a quote that is still open in line 5; "
        "close the quote that opens a cell and double those inside it; --lenient drops and counts such rows",
    ),
    (
        "quote not doubled",
        MOVIES + '2,"The "Game",Comedy\n',
        "movies.csv:3: a row must be valid CSV, got ',' expected after '\"'; close the quote",
    ),
    ("quote in the header", MOVIES.replace("title", '"title'), "movies.csv:1: a row must be valid CSV"),
]


@pytest.mark.parametrize(
    ("movies", "message"), [case[1:] for case in BAD_MOVIES], ids=[c[0] for c in BAD_MOVIES]
)
def test_bad_movies_are_refused_with_place_and_value(
    canonical: Writer, movies: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read(canonical(movies=movies))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('"a,1,4,1\nc,1,4,1\n"d,1,4,1\n', "got a quote that is still open in line 5"),
        ('c,1,4,1\n"d"e,1,4,1\n', """ratings.csv:4: a row must be valid CSV, got ',' expected after '"'"""),
    ],
    ids=["over lines", "in a line"],
)
def test_the_quick_look_does_not_read_past_a_stray_quote(canonical: Writer, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read(canonical(ratings=HEADER + GOOD + rows))


def test_quotes_that_are_closed_may_hold_anything(canonical: Writer) -> None:
    data = read(
        canonical(
            ratings=HEADER + '"b\r\n""c"", d","1",4,1\r\n"e",1,5,2\r\n',
            movies=MOVIES + '2,"A ""quoted""\n, long title (1999)",\n3,6" under,\n',
        )
    )
    assert triples(data) == [('b\r\n"c", d', "1", 4), ("e", "1", 5)]
    assert data.catalogue.titles == ("Toy Story", 'A "quoted"\n, long title', '6" under')


def test_the_1m_form_is_read(tmp_path: Path) -> None:
    (tmp_path / "movies.dat").write_bytes(
        "1::Amélie (2001)::Comedy|Romance\n2::Heat (1995)::Crime\n".encode("latin-1")
    )
    (tmp_path / "ratings.dat").write_bytes(b"10::2::5::978300760\n10::1::3::978300275\n11::1::4::978300275\n")
    data = read(tmp_path)
    assert data.catalogue.titles == ("Amélie", "Heat")
    assert genres(data) == [("Comedy", "Romance"), ("Crime",)]
    assert triples(data) == [("10", "1", 3), ("10", "2", 5), ("11", "1", 4)]


def test_the_1m_form_says_where_it_is_bad(tmp_path: Path) -> None:
    (tmp_path / "movies.dat").write_text("1::Heat (1995)::Crime\n")
    (tmp_path / "ratings.dat").write_text("10::1::5::978300760\n11::1::five::978300275\n12,1,5,1\n")
    with pytest.raises(
        DataError, match=re.escape("ratings.dat:2: a rating must be a finite number, got 'five'")
    ):
        read(tmp_path)
    data = read(tmp_path, lenient=True)
    assert data.dropped[1] == "ratings.dat: 1 row dropped: a row must have 4 columns"


@pytest.mark.parametrize("with_genre_file", [True, False])
def test_the_100k_form_is_read(tmp_path: Path, with_genre_file: bool) -> None:
    names = ["unknown", "Action", "Adventure", "Animation", " Children's\x1d"]
    if with_genre_file:
        (tmp_path / "u.genre").write_text("".join(f"{name}|{i}\n" for i, name in enumerate(names)) + "\n")
    flags = "|0" * (0 if with_genre_file else 14)
    (tmp_path / "u.item").write_bytes(
        f"1|Léon (1994)|01-Jan-1994||http://x|0|1|0|0|1{flags}\n"
        f"1412|Land Before Time III (1995)|||http://x|0|0|0|1|0{flags}\n"
        f"267|unknown||||1|0|0|0|0{flags}\n"
        f"3|Dated|01-Jan-1996|||0|0|0|0|0{flags}\n"
        f"4||01-Jan-1997|||0|0|0|0|0{flags}\n".encode("latin-1")
    )
    (tmp_path / "u.data").write_text("196\t1\t3\t881250949\n186\t267\t4\t881250949\n")
    data = read(tmp_path)
    assert [data.catalogue.label(row) for row in range(4)] == [
        "Léon (1994)",
        "Land Before Time III (1995)",
        "unknown",
        "Dated (1996)",
    ]
    assert (data.catalogue.titles[4], data.catalogue.years[4]) == ("", 1997)
    assert genres(data) == [("Action", "Children's"), ("Animation",), (), (), ()]
    assert triples(data) == [("196", "1", 3), ("186", "267", 4)]


def test_the_ml_100k_form_of_the_registry_is_read(tmp_path: Path) -> None:
    (tmp_path / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tToy Story\t1995\tAnimation Children's Comedy\n"
        "267\tunknown\tunknown\tunknown\n"
        "1412\tLand Before Time III (1995)\tV\tAnimation\n"
        "246\tChasing Amy\t1997\tDrama\n"
        "268\t\t1997\tDrama\n"
    )
    (tmp_path / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t246\t3\t881250949\n"
    )
    data = read(tmp_path)
    assert data.catalogue.item_ids == ("1", "267", "1412", "246", "268")
    assert [data.catalogue.label(row) for row in range(4)] == [
        "Toy Story (1995)",
        "unknown",
        "Land Before Time III (1995)",
        "Chasing Amy (1997)",
    ]
    assert (data.catalogue.titles[4], data.catalogue.years[4]) == ("", 1997)
    assert genres(data)[:3] == [("Animation", "Children's", "Comedy"), (), ("Animation",)]
    assert triples(data) == [("196", "246", 3)]


def test_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data must be a folder, got nothing"):
        read(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="data must be a folder, got a file"):
        read(tmp_path / "file")


def test_folder_without_data_is_refused_with_the_accepted_forms(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    for name in (
        "ratings.csv and movies.csv",
        "ratings.parquet",
        "u.data",
        "ratings.dat",
        "content_item_train.csv",
    ):
        assert name in str(caught.value)


@pytest.mark.parametrize("missing", ["ratings.csv", "movies.csv"])
def test_half_a_pair_is_refused(canonical: Writer, missing: str) -> None:
    folder = canonical()
    (folder / missing).unlink()
    with pytest.raises(DataError, match=f"needs {missing} beside it, got no such file"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "cure"),
    [("Ratings.csv", "rename it to ratings.csv"), ("ratings.csv.gz", "unpack it to ratings.csv")],
)
@pytest.mark.parametrize("alone", [False, True])
def test_a_file_in_other_letters_or_packed_is_refused_with_the_cure(
    name: str, cure: str, alone: bool, canonical: Writer
) -> None:
    folder = canonical()
    (folder / "ratings.csv").rename(folder / name)
    if alone:
        (folder / "movies.csv").unlink()
    with pytest.raises(DataError, match=f"got {name}; {cure}$"):
        read(folder)


def test_a_pair_of_two_forms_is_refused(canonical: Writer) -> None:
    folder = canonical()
    (folder / "movies.csv").rename(folder / "movies.parquet")
    with pytest.raises(DataError, match=r"ratings\.csv needs movies\.csv beside it, got movies\.parquet"):
        read(folder)


def test_file_that_cannot_be_read_is_a_data_error(canonical: Writer) -> None:
    folder = canonical()
    (folder / "ratings.csv").unlink()
    (folder / "ratings.csv").mkdir()
    with pytest.raises(DataError, match="must be readable"):
        read(folder)
    shutil.rmtree(folder / "ratings.csv")


def test_catalogue_may_hold_movies_that_nobody_rated(canonical: Writer) -> None:
    data = read(canonical(ratings=HEADER + GOOD))
    assert (len(data.catalogue), len(data.ratings)) == (4, 1)
