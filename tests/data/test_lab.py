"""The feature matrices of the exercise, in the editions that go round."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepmoviematch.data.errors import DataError
from deepmoviematch.data.lab import LAB_FILES, is_lab, read_lab
from deepmoviematch.data.readers import read

# Two users; user 2's row for movie 20 is repeated, as the exercise repeats rows.
FILES = {
    "content_item_train_header.txt": "movie id,year,ave rating,Action,Comedy",
    "content_user_train_header.txt": "user id,rating count,rating ave,Action,Comedy",
    "content_item_train.csv": "10,1995,3.5,1,0\n20,2001,4.0,1,1\n20,2001,4.0,1,1\n10,1995,3.5,1,0\n",
    "content_user_train.csv": "2.0,2.0,4.0,4.5,3.0\n" * 3 + "1.0,1.0,2.5,2.5,0.0\n",
    "content_y_train.csv": "4.0\n5.0\n5.0\n2.5\n",
    "content_item_vecs.csv": "20,2001,4.0,1,1\n10,1995,3.5,1,0\n",
    "content_movie_list.csv": 'movieId,title,genres\n20,"Mexican, The (2001)",Comedy\n10,Heat,Action\n',
}

Writer = Callable[..., Path]


@pytest.fixture
def lab(tmp_path: Path) -> Writer:
    """Writes the matrices; keywords replace files by the part of the name after `content_`."""

    def write(**changes: str) -> Path:
        for name, text in FILES.items():
            key = name.removeprefix("content_").split(".")[0]
            (tmp_path / name).write_text(changes.get(key, text))
        return tmp_path

    return write


def test_rows_are_kept_as_they_are(lab: Writer) -> None:
    rows = read_lab(lab())
    assert len(rows) == 4
    assert rows.user_ids == ("2", "2", "2", "1")
    assert rows.item_ids == ("10", "20", "20", "10")
    assert rows.user_features.tolist() == [[4.5, 3]] * 3 + [[2.5, 0]]
    assert rows.statistic_names == ("rating count", "rating ave")
    assert rows.user_statistics.tolist() == [[2, 4]] * 3 + [[1, 2.5]]
    assert rows.feature_names == ("year", "ave rating", "Action", "Comedy")
    assert rows.item_features.tolist() == [
        [1995, 3.5, 1, 0],
        [2001, 4, 1, 1],
        [2001, 4, 1, 1],
        [1995, 3.5, 1, 0],
    ]
    assert rows.ratings.tolist() == [4, 5, 5, 2.5]
    assert {rows.user_features.dtype, rows.item_features.dtype, rows.ratings.dtype} == {np.dtype(np.float32)}


def test_catalogue_is_the_list_with_the_matrices_features(lab: Writer) -> None:
    rows = read_lab(lab())
    assert rows.catalogue.item_ids == ("20", "10")
    assert rows.catalogue.titles == ("Mexican, The", "Heat")
    assert rows.catalogue.years.tolist() == [2001, 1995]
    assert rows.catalogue.genre_names == ("Action", "Comedy")
    assert rows.catalogue.genres.tolist() == [[True, True], [True, False]]
    assert rows.catalogue_features.tolist() == [[2001, 4, 1, 1], [1995, 3.5, 1, 0]]


def test_reader_gives_each_pair_once(lab: Writer) -> None:
    data = read(lab())
    assert data.ratings.user_ids == ("2", "1")
    assert data.ratings.users.tolist() == [0, 0, 1]
    assert data.ratings.items.tolist() == [1, 0, 1]
    assert data.ratings.ratings.tolist() == [4, 5, 2.5]
    assert data.ratings.timestamps is None


def test_columns_go_by_their_names(lab: Writer) -> None:
    other = read_lab(
        lab(
            item_train_header="Comedy,movie id,year,Action",
            item_train="0,10,1995,1\n1,20,2001,1\n1,20,2001,1\n0,10,1995,1\n",
            item_vecs="1,20,2001,1\n0,10,1995,1\n",
            user_train_header="user id,Comedy,Action",
            user_train="2,3.0,4.5\n" * 3 + "1,0.0,2.5\n",
        )
    )
    plain = read_lab(lab())
    assert other.catalogue.to_json() == plain.catalogue.to_json()
    assert np.array_equal(other.user_features, plain.user_features)
    assert other.statistic_names == ()
    assert other.user_statistics.shape == (4, 0)
    assert other.feature_names == ("year", "Action", "Comedy")
    assert np.array_equal(other.item_features, plain.item_features[:, [0, 2, 3]])


def test_movie_with_a_row_for_each_genre_has_them_all(lab: Writer) -> None:
    rows = read_lab(
        lab(
            item_vecs="20,2001,4.0,1,0\n20,2001,4.0,0,1\n10,1995,3.5,1,0\n",
            item_train="10,1995,3.5,1,0\n20,2001,4.0,1,0\n20,2001,4.0,0,1\n10,1995,3.5,1,0\n",
        )
    )
    assert rows.catalogue.genres.tolist() == [[True, True], [True, False]]
    assert rows.catalogue_features[0].tolist() == [2001, 4, 1, 1]
    assert rows.item_features[1].tolist() == [2001, 4, 1, 0]


def test_movie_that_the_vectors_lack_is_taken_from_the_training_rows(lab: Writer) -> None:
    rows = read_lab(lab(item_vecs="20,2001,4.0,1,1\n"))
    assert rows.catalogue_features.tolist() == [[2001, 4, 1, 1], [1995, 3.5, 1, 0]]


def test_years_that_are_none_are_unknown(lab: Writer) -> None:
    rows = read_lab(lab(item_vecs="20,0,4.0,1,1\n10,1995,3.5,1,0\n"))
    assert rows.catalogue.years.tolist() == [0, 1995]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": "4.0\n5.0\n5.0\n"}, "content_y_train.csv:3: there must be as many rows as the 4 of"),
        (
            {"user_train": "2,2,4,4,3\n" * 5},
            "content_user_train.csv:5: there must be as many rows as the 4 of",
        ),
        ({"item_train": "10,1995,3.5,1\n"}, "content_item_train.csv:1: a row must have 5 columns, got 4"),
        (
            {"item_vecs": "20,2001,4.0,1,1\n10,1995,,1,0\n"},
            "content_item_vecs.csv:2: ave rating must be a finite",
        ),
        (
            {"y_train": "4.0\nfive\n5.0\n2.5\n"},
            "content_y_train.csv:2: rating must be a finite number, got 'five'",
        ),
        (
            {"y_train": "4.0\n1e39\n5.0\n2.5\n"},
            "content_y_train.csv:2: rating must be from -3.4e+38 to 3.4e+38, got '1e39'",
        ),
        (
            {"y_train": "4.0\nnan\n5.0\n2.5\n"},
            "content_y_train.csv:2: rating must be a finite number, got 'nan'",
        ),
        (
            {"user_train": "2.5,2,4,4,3\n" * 4},
            "content_user_train.csv:1: an id must be a whole number, got 2.5",
        ),
        ({"y_train": ""}, "content_y_train.csv: there must be at least one row, got none"),
        (
            {"y_train": "4.0\n5.0\n4.5\n2.5\n"},
            "content_y_train.csv:3: a user must give a movie one rating, got 4.5",
        ),
        (
            {"item_vecs": "30,2001,4.0,1,1\n"},
            "content_item_vecs.csv:1: a movie must be in content_movie_list.csv",
        ),
        (
            {"movie_list": "movieId,title\n10,Heat\n"},
            "content_item_vecs.csv:1: a movie must be in content_movie",
        ),
        (
            {"movie_list": "movieId,title\n10,Heat\n20,Mexican\n30,Thirty\n"},
            "content_movie_list.csv:4: a movie must have a row in content_item_vecs.csv or",
        ),
        (
            {"movie_list": "movieId,title\n10,Heat\n10.0,Heat\n"},
            "content_movie_list.csv:3: a movie may be listed once",
        ),
        (
            {"movie_list": "movieId,title\ntt1,Heat\n"},
            "content_movie_list.csv:2: an id must be a whole number",
        ),
        (
            {"movie_list": "movieId,title\n1e999,Heat\n"},
            "content_movie_list.csv:2: an id must be a whole number, got inf",
        ),
        ({"movie_list": "movieId,title\n"}, "content_movie_list.csv: a catalogue must hold at least one"),
        ({"movie_list": "id,name\n"}, "content_movie_list.csv:1: column movieId is missing"),
        (
            {"user_train_header": "user id,Action,Drama"},
            "content_user_train_header.txt:1: genres must be those of",
        ),
        (
            {"item_train_header": ""},
            "content_item_train_header.txt:1: columns must have distinct names, one of",
        ),
        (
            {"item_train_header": "movie id,year,Action,Action"},
            "content_item_train_header.txt:1: columns must have",
        ),
        (
            {"user_train_header": "user id,Action,Comedy\n2,3,4\n"},
            "content_user_train_header.txt:2: a header must be one line, got '2,3,4'",
        ),
    ],
)
def test_matrices_that_do_not_fit_are_refused_with_the_place(
    lab: Writer, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read_lab(lab(**changes))


def test_header_that_is_not_utf8_is_refused(lab: Writer) -> None:
    folder = lab()
    (folder / "content_user_train_header.txt").write_bytes("user id,Comédie".encode("latin-1"))
    message = "content_user_train_header.txt: a header must be UTF-8, got byte 0xe9"
    with pytest.raises(DataError, match=message):
        read_lab(folder)


@pytest.mark.parametrize("missing", LAB_FILES)
def test_missing_sibling_is_named(lab: Writer, missing: str) -> None:
    folder = lab()
    (folder / missing).unlink()
    with pytest.raises(DataError, match=f"need {missing} too"):
        read(folder)


def test_lab_is_known_by_its_files(lab: Writer, tmp_path: Path) -> None:
    assert not is_lab(tmp_path)
    assert is_lab(lab())
