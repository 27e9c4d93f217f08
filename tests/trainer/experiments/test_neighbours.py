"""Neighbours in a world small enough to count by hand, and the claim in one where it is known to hold."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.experiments import neighbours
from deepmoviematch.trainer.experiments.neighbourhood import Neighbourhood
from deepmoviematch.trainer.experiments.neighbours import measure, neighbours_of

A, B, C, D = range(4)


def world(
    directions: Sequence[tuple[float, ...]],
    genres: list[str],
    likes: list[list[int]],
    titles: tuple[str, ...] = (),
) -> Neighbourhood:
    """`likes`: for each user the items; `genres`: a letter for each genre."""
    names = tuple(sorted({*"".join(genres)}))
    size = len(genres)
    catalogue = Catalogue(
        item_ids=tuple(str(row) for row in range(size)),
        titles=titles or tuple(f"Item {row}" for row in range(size)),
        years=np.full(size, 1999, dtype=np.int32),
        genre_names=names,
        genres=np.array([[name in each for name in names] for each in genres]),
    )
    flags = np.array([[item in each for item in range(size)] for each in likes], dtype=np.float32)
    return Neighbourhood(
        catalogue, np.array(directions, dtype=np.float32), sparse.csc_matrix(flags), unseen=True
    )


@pytest.fixture
def four() -> Neighbourhood:
    directions = [(1.0, 0.0), (0.8, 0.6), (0.6, 0.8), (-1.0, 0.0)]
    likes = [[A, B], [A, B], [A, C], [B], [D]]
    titles = ("Matrix, The", "Dark City", "Dark City", "Heat")
    return world(directions, ["x", "y", "xy", ""], likes, titles)


def test_the_nearest_come_first_and_an_item_is_not_its_own_neighbour(four: Neighbourhood) -> None:
    assert four.nearest(np.array([A, D]), 2).tolist() == [[B, C], [C, B]]


def test_who_likes_both_is_counted_beside_chance(four: Neighbourhood) -> None:
    rows, others = np.array([A, A, D]), np.array([B, C, A])
    assert four.both(rows, others).tolist() == [2, 1, 0]
    assert four.by_chance(rows, others).tolist() == [3 * 3 / 5, 3 * 1 / 5, 1 * 3 / 5]


def test_neighbours_are_listed_with_their_lift_and_others_with_their_rank(four: Neighbourhood) -> None:
    nearest, last = neighbours_of(four, "the matrix (1999)", ["Heat"], count=1)
    assert nearest == {
        "rank": 1,
        "title": "Dark City",
        "year": 1999,
        "genres": ["y"],
        "cosine": pytest.approx(0.8),
        "likes": 3,
        "both": 2,
        "lift": pytest.approx((2 + 1) / (9 / 5 + 1)),
    }
    assert (last["rank"], last["title"], last["both"]) == (3, "Heat", 0)


def test_there_is_no_lift_where_nobody_likes_one_of_the_two() -> None:
    unliked = world([(1.0, 0.0), (0.8, 0.6), (0.6, 0.8)], ["x", "x", "x"], [[A, B], [A]])
    first, second = neighbours_of(unliked, "0", [], count=2)
    assert first["lift"] == pytest.approx((1 + 1) / (2 * 1 / 2 + 1))
    assert np.isnan(second["lift"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Dark City", "the title of 2; name one by its id: 1, 2"),
        ("Heart", r"the title of 0; did you mean Heat\?"),
        ("Nothing", "the title of 0; look for it among the data's titles"),
    ],
)
def test_a_title_must_name_one_item(four: Neighbourhood, name: str, said: str) -> None:
    with pytest.raises(TrainingError, match=f"got '{name}', {said}"):
        four.row_of(name)
    assert four.row_of("1") == B


def test_the_measure_needs_enough_items(four: Neighbourhood) -> None:
    with pytest.raises(
        TrainingError, match="more than 10 items with genres and 10 likes, got 0; give it more"
    ):
        measure(four, seed=1)


GROUPS, EACH, USERS = 5, 6, 400


def groups(*, taught: bool) -> Neighbourhood:
    """Thirty items in five groups, whose likers like the whole of a group; genres run across the groups.

    Vectors that were `taught` put the groups together, others the genres.
    """
    rng = np.random.default_rng(2)
    group, genre = np.divmod(np.arange(GROUPS * EACH), EACH)
    likes = [
        np.flatnonzero(rng.random(len(group)) < np.where(group == user % GROUPS, 0.8, 0.2)).tolist()
        for user in range(USERS)
    ]
    around = np.eye(GROUPS)[group] if taught else np.eye(EACH)[genre]
    directions = around + 0.01 * rng.random(around.shape)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return world([tuple(each) for each in directions], ["abcdef"[each] for each in genre], likes)


@pytest.fixture
def _five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "NEIGHBOURS", EACH - 1)


@pytest.mark.usefixtures("_five")
def test_neighbours_that_people_made_have_a_lift_that_chance_has_not() -> None:
    found = measure(groups(taught=True), seed=1)
    # Nobody of a group has a genre of another of it: all five neighbours are apart. Of the 29
    # others of the catalogue 4 share the genre.
    assert found["apart"]["neighbours"] == {"mean": 1, "low": 1, "high": 1}
    assert found["apart"]["catalogue"] == pytest.approx(25 / 29)
    # P(both) is (.8 .8 + 4 .2 .2) / 5 within a group and (2 .8 .2 + 3 .2 .2) / 5 across, P(one) .32.
    lifts = [each["mean"] for each in found["lift"].values()]
    assert lifts[0] == pytest.approx(0.16 / 0.32**2, abs=0.1)
    assert lifts[1] == pytest.approx(0.088 / 0.32**2, abs=0.1)
    assert np.isnan(lifts[2])
    assert found["ratio"]["mean"] == pytest.approx(0.16 / 0.088, abs=0.15)
    assert found["ratio"]["low"] > 1.5


@pytest.mark.usefixtures("_five")
def test_neighbours_by_genre_alone_show_nothing() -> None:
    # Vectors that know genres alone, of items that nobody's likes hold together any more.
    around = groups(taught=False)
    shuffled = np.random.default_rng(3).permuted(around.likes.toarray(), axis=0)
    found = measure(replace(around, likes=sparse.csc_matrix(shuffled)), seed=1)
    assert found["apart"]["neighbours"]["mean"] == pytest.approx(1 / 5)  # 4 others of a genre, 5 neighbours
    assert found["ratio"]["low"] < 1 < found["ratio"]["high"]
    assert set(found["pairs"].values()) == {30, 120}
