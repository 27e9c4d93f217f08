from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings, strategies as st

from deepmoviematch.data.canonical import write
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.cells import parse_title
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.readers import read

# What readers can make: ids with something to see, clean titles, genres without the separator.
IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5).filter(str.strip)
TITLES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=10).filter(
    lambda text: parse_title(text) == (text, 0)
)
GENRES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="|"), min_size=1).filter(
    lambda text: text == text.strip() and text != "(no genres listed)"
)

FLOATS = st.floats(-(2.0**99), 2.0**99, width=32).map(lambda value: value + 0.0)  # -0.0 is 0.0


@st.composite
def datasets(draw: Any) -> Dataset:
    item_ids = draw(st.lists(IDS, min_size=1, max_size=4, unique=True))
    genre_names = sorted(draw(st.sets(GENRES, max_size=3)))
    genres = draw(
        st.lists(
            st.sets(st.sampled_from(genre_names)) if genre_names else st.just(set()),
            min_size=len(item_ids),
            max_size=len(item_ids),
        )
    )
    genre_names = [name for name in genre_names if any(name in names for names in genres)]
    titles = draw(st.lists(TITLES, min_size=len(item_ids), max_size=len(item_ids)))
    years = [draw(st.sampled_from([0, 1000, 1995, 2100])) for _ in titles]
    catalogue = Catalogue(
        item_ids=tuple(item_ids),
        titles=tuple(titles),
        years=np.array(years, dtype=np.int32),
        genre_names=tuple(genre_names),
        genres=np.array([[name in names for name in genre_names] for names in genres], dtype=np.bool_),
    )
    user_ids = draw(st.lists(IDS, min_size=1, max_size=3, unique=True))
    pairs = [
        (user, item)
        for user in range(len(user_ids))
        for item in draw(st.lists(st.integers(0, len(item_ids) - 1), min_size=1, unique=True))
    ]
    stars = draw(st.lists(FLOATS, min_size=len(pairs), max_size=len(pairs)))
    times = draw(
        st.none() | st.lists(st.integers(0, 4_102_444_799), min_size=len(pairs), max_size=len(pairs))
    )
    devices = draw(st.none() | st.lists(st.integers(-1, 2), min_size=len(pairs), max_size=len(pairs)))
    users, items = np.array(pairs, dtype=np.int32).T
    ratings = Ratings.from_columns(
        tuple(user_ids),
        users,
        items,
        np.array(stars, dtype=np.float32),
        None if times is None else np.array(times, dtype=np.int64),
        devices=None if devices is None else np.array(devices, dtype=np.int32),
        device_names=("tv", "phone, small", "écran"),
    )
    return Dataset("made up", catalogue, ratings)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(datasets())
def test_what_is_written_reads_back_as_the_same_data(tmp_path: Path, dataset: Dataset) -> None:
    write(dataset, tmp_path)
    assert read(tmp_path).digest == dataset.digest


def tiny() -> Dataset:
    return Dataset(
        "tiny",
        Catalogue(
            item_ids=("0318", "9"),
            titles=('Amélie "of" Paris, The', "Blade Runner 2049"),
            years=np.array([2001, 0], dtype=np.int32),
            genre_names=("Comedy", "Drama"),
            genres=np.array([[1, 1], [0, 0]], dtype=np.bool_),
        ),
        Ratings(
            user_ids=("a",),
            users=np.zeros(2, dtype=np.int32),
            items=np.array([1, 0], dtype=np.int32),
            ratings=np.array([4, 0.1], dtype=np.float32),
            timestamps=np.array([5, 6], dtype=np.int64),
        ),
    )


def test_the_files_are_movielens_own_form(tmp_path: Path) -> None:
    write(tiny(), tmp_path / "new")
    assert (tmp_path / "new" / "movies.csv").read_text(encoding="utf-8") == (
        'movieId,title,genres\n0318,"Amélie ""of"" Paris, The (2001)",Comedy|Drama\n'
        "9,Blade Runner 2049,(no genres listed)\n"
    )
    assert (tmp_path / "new" / "ratings.csv").read_text(encoding="utf-8") == (
        "userId,movieId,rating,timestamp\na,9,4.0,5\na,0318,0.1,6\n"
    )


def test_writing_leaves_nothing_else_behind(tmp_path: Path) -> None:
    write(tiny(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["movies.csv", "ratings.csv"]
