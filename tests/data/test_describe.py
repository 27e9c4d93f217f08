import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.describe import Bar, GenreSummary, describe, show
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.readers import read

Writer = Callable[..., Path]


def test_description_counts_what_is_there(canonical: Writer) -> None:
    found = describe(read(canonical()))
    assert (found.users, found.items, found.rated_items, found.ratings) == (2, 4, 3, 4)
    assert (found.likes.count, found.likes.items, found.likes.share, found.likes.least) == (2, 2, 0.5, 4)
    assert found.density == 0.5
    assert found.ratings_per_user == {"least": 2, "a quarter": 2, "half": 2, "three quarters": 2, "most": 2}
    assert found.ratings_per_item == {"least": 1, "a quarter": 1, "half": 1, "three quarters": 2, "most": 2}
    assert (found.first_year, found.last_year, found.unknown_years) == (1994, 2001, 1)
    assert found.items_without_genre == 1
    assert found.mean_rating == 3.25
    assert found.histogram == [Bar(0.5, 0.5, 1), Bar(3.5, 3.5, 1), Bar(4, 4, 1), Bar(5, 5, 1)]
    assert (found.first_rating, found.last_rating) == (
        "2000-07-30T18:43:20+00:00",
        "2000-07-30T18:48:20+00:00",
    )


def test_genres_have_their_mean_rating(canonical: Writer) -> None:
    ratings = "userId,movieId,rating\na,1,4\nb,1,3\na,7,0.5\n"
    assert describe(read(canonical(ratings=ratings))).genres == [
        GenreSummary("Animation", 1, 2, 3.5),
        GenreSummary("Comedy", 2, 3, 2.5),
        GenreSummary("Drama", 1, 0, None),
        GenreSummary("Romance", 1, 1, 0.5),
    ]


def bare(stars: list[float]) -> Dataset:
    """One user; no genres, years or times."""
    ids = tuple(map(str, range(len(stars))))
    return Dataset(
        "bare [bold]",
        Catalogue(ids, ids, np.zeros(len(ids), dtype=np.int32), (), np.zeros((len(ids), 0), dtype=np.bool_)),
        Ratings(
            ("a",),
            np.zeros(len(ids), dtype=np.int32),
            np.arange(len(ids), dtype=np.int32),
            np.array(stars, dtype=np.float32),
            None,
        ),
        dropped=("ratings.csv: 2 rows dropped: a [rule]",),
    )


def test_scale_of_many_values_is_shown_in_ten_ranges() -> None:
    found = describe(bare([float(value) for value in range(101)])).histogram
    assert [(bar.low, bar.high) for bar in found] == [(low, low + 10) for low in range(0, 100, 10)]
    assert [bar.ratings for bar in found] == [10] * 9 + [11]


def test_ends_of_ranges_have_no_digits_that_a_rating_does_not_tell() -> None:
    found = describe(bare([-9.99, *range(-9, 10), 10.0])).histogram
    assert [bar.low for bar in found][:2] == [-9.99, -7.991]
    assert found[4].high == 0.005


def test_devices_are_counted() -> None:
    data = bare([1.0, 2.0, 3.0])
    devices = np.array([1, -1, 1], dtype=np.int32)
    named = replace(data, ratings=replace(data.ratings, devices=devices, device_names=("tv", "phone [2]")))
    assert describe(data).devices == {}
    assert describe(named).devices == {"tv": 0, "phone [2]": 2}
    assert "tv (0), phone [2] (2)" in shown(named)


def test_the_largest_numbers_either_way_can_be_described() -> None:
    found = describe(bare([-3.4e38, *range(20), 3.4e38]))
    assert [bar.ratings for bar in found.histogram] == [1, 0, 0, 0, 0, 20, 0, 0, 0, 1]
    json.dumps(found.to_json(), allow_nan=False)


def test_likes_are_counted_in_the_units_of_the_data() -> None:
    likes = describe(bare([-10.0, 5.5, 5.6, 10.0])).likes
    assert (likes.count, likes.items) == (2, 2)
    assert likes.least == pytest.approx(5.556, abs=1e-3)


def test_counts_of_plays_are_warned_of_as_hardly_any_is_a_like() -> None:
    console = Console(file=io.StringIO(), width=400)
    show(describe(bare([1000.0, *range(1, 100)])), console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "should be likes, 800 or more, got 1 (1.00%); if the numbers count plays" in printed
    assert (
        "should be likes, 5.55556 or more, got 1 (1.00%)"
        in describe(bare([10.0, *[-10.0] * 99])).likes.warning
    )
    assert describe(bare([1000.0, *range(1, 50)])).likes.warning == ""


def test_genres_that_differ_in_case_only_are_told_of() -> None:
    dataset = bare([1.0, 2.0])
    genres = np.eye(2, 3, dtype=np.bool_)
    catalogue = replace(dataset.catalogue, genre_names=("Drama", "Noir", "drama"), genres=genres)
    console = Console(file=io.StringIO(), width=400)
    show(describe(replace(dataset, catalogue=catalogue)), console)
    said = "genres must be spelt in one way to be one, got Drama and drama; they count as different"
    assert said in console.file.getvalue()  # type: ignore[attr-defined]


def test_histogram_shows_ratings_as_written() -> None:
    assert [bar.low for bar in describe(bare([0.1, 4.7])).histogram] == [0.1, 4.7]


def test_what_is_unknown_is_none() -> None:
    found = describe(bare([1.0]))
    assert (found.first_year, found.first_rating, found.genres) == (None, None, [])


@pytest.mark.parametrize("name", ["canonical", "bare"])
def test_description_is_json(canonical: Writer, name: str) -> None:
    found = describe(read(canonical()) if name == "canonical" else bare([1.0]))
    back = json.loads(json.dumps(found.to_json()))
    assert back["ratings"] == found.ratings
    assert back["dropped"] == list(found.dropped)


def shown(dataset: Dataset) -> str:
    console = Console(file=io.StringIO(), width=120)
    show(describe(dataset), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_tables_say_it_to_people(canonical: Writer) -> None:
    text = shown(read(canonical()))
    for part in ("4 (3 rated)", "50.000%", "1994 to 2001 (1 unknown)", "Animation", "3.750", "█" * 40):
        assert part in text


def test_names_and_drops_are_printed_as_they_are() -> None:
    text = shown(bare([1.0]))
    assert "bare [bold]" in text
    assert "2 rows dropped: a [rule]" in text
    assert "the ratings have no times" in text
