"""Catalogues as they turn up: small, lopsided, without what others have, with ids of any kind.

Each is fitted, built into a generation, asked, and measured, as any other.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmoviematch.indexer.build import build
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.ranking.question import Listing, Seeds, Taste
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.trainer.quiet import import_tensorflow

import_tensorflow()

from deepmoviematch.trainer.__main__ import main  # noqa: E402
from deepmoviematch.trainer.evaluation.protocols import PROTOCOLS  # noqa: E402
from deepmoviematch.trainer.fit import fit_run  # noqa: E402
from deepmoviematch.trainer.models import markov, teacher  # noqa: E402
from deepmoviematch.trainer.recipe import RetrievalRecipe  # noqa: E402

SMALL: dict[str, Any] = {
    "embedding_dim": 4,
    "hidden": (8,),
    "epochs": 2,
    "batch_size": 16,
    "sequence_epochs": 1,
}
RECIPE = RetrievalRecipe(name="small", **SMALL)
SOLVED = 500
"""Items that closed forms are solved for here."""

TOLD = ("new-users", "three-likes", "genres-only", "two-genres", "three-genres")
"""Protocols that hold users out."""


@dataclass(frozen=True)
class World:
    """What two files say; people with an even number like items with an even one, the others do not."""

    items: int = 24
    people: int = 24
    rated: int = 12
    """Ratings of a person, half of them likes."""

    liked: float = 5.0
    other: float = 1.0
    genres: Callable[[int], str] = lambda item: ("Sad", "Funny")[item % 2]
    year: Callable[[int], int | None] = lambda item: 1980 + item
    time: Callable[[int], int] | None = lambda number: 86_400 * number
    """Of the rating with this number; None where the data have no times."""

    name: Callable[[int], str] = str
    """Id of an item or a person."""

    title: Callable[[int], str] = "Item {}".format
    further: tuple[str, ...] = ()
    """Ids of items that nobody rated."""

    rows: tuple[tuple[int, int, float], ...] = field(default=(), repr=False)
    """Person, item and rating; if empty, as the taste of each person has it."""

    told_apart: bool = True
    """Whether the data show that there are two tastes."""

    def ratings(self) -> list[tuple[int, int, float]]:
        """Person, item, rating."""
        if self.rows:
            return list(self.rows)
        rng = np.random.default_rng(0)
        rows = []
        for person in range(self.people):
            half = self.rated // 2
            mine, others = (
                rng.choice(np.arange(side, self.items, 2), half, replace=False)
                for side in (person % 2, 1 - person % 2)
            )
            taste = [(person, int(item), self.liked) for item in mine]
            taste += [(person, int(item), self.other) for item in others if self.other != self.liked]
            rows += [taste[place] for place in rng.permutation(len(taste))]
        return rows

    def write(self, folder: Path) -> None:
        """Leave `movies.csv` and `ratings.csv`."""
        folder.mkdir()
        with (folder / "movies.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("movieId", "title", "genres"))
            for item in range(self.items):
                year = self.year(item)
                title = self.title(item) + (f" ({year})" if year else "")
                writer.writerow((self.name(item), title, self.genres(item)))
            writer.writerows((name, f"Unrated {name}", self.genres(0)) for name in self.further)
        with (folder / "ratings.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("userId", "movieId", "rating", *(["timestamp"] if self.time else [])))
            for number, (person, item, rating) in enumerate(self.ratings()):
                times = [self.time(number)] if self.time else []
                writer.writerow((self.name(person), self.name(item), rating, *times))


def _forty(item: int) -> str:
    rng = np.random.default_rng(item)
    return "|".join(f"Genre {genre}" for genre in sorted(rng.choice(40, 1 + item % 4, replace=False)))


def _odd_id(number: int) -> str:
    kinds = (
        '"quoted", and {}',
        "{} & <b>'s\\",
        "ид {} 你好 🎬",
        "/{}?x=%20#|;",
        "x" * 190 + " {}",
        "-{}",
        "0{}",
    )
    return kinds[number % len(kinds)].format(number)


def _skewed() -> tuple[tuple[int, int, float], ...]:
    """Item 0 or 1 is liked by its half, each further item by few."""
    rng = np.random.default_rng(1)
    rows = []
    for person in range(40):
        side = np.arange(person % 2, 60, 2)
        chances = 1 / np.arange(1, len(side) + 1) ** 2
        liked = rng.choice(side, 8, replace=False, p=chances / chances.sum())
        rows += [(person, int(item), 5.0) for item in liked]
        rows.append((person, int(rng.choice(np.arange(1 - person % 2, 60, 2))), 1.0))
    return tuple(rows)


USUAL = World()
_PAIRS = USUAL.ratings()
ALIKE: dict[str, Any] = {"told_apart": False}
MOMENT = "one genre, one moment for all, ratings of 1 to 100"
WORLDS = {
    "forty genres, no times, ratings of 0 to 10": replace(USUAL, genres=_forty, time=None, liked=10, other=0),
    MOMENT: replace(USUAL, genres=lambda item: "Only", time=lambda number: 1_000_000_000, liked=97),
    "years from 1450 to 2030, one title, ratings below zero": replace(
        USUAL, year=lambda item: 1450 + item * 580 // 23, title=lambda item: "The Same", liked=10, other=-10
    ),
    "no genres": replace(USUAL, genres=lambda item: ""),
    "nothing but likes": replace(
        USUAL, time=None, year=lambda item: None, genres=lambda item: "", liked=1, other=1
    ),
    "zeros alone": replace(USUAL, liked=0, other=0),
    "five people": replace(USUAL, people=5),
    "two people": replace(USUAL, people=2),
    "one person": replace(USUAL, people=1, **ALIKE),
    "ids of any kind": replace(USUAL, name=_odd_id),
    "items that nobody rated": replace(USUAL, further=tuple(f"new {item}" for item in range(200))),
    "items that nobody liked": replace(
        USUAL, items=40, rows=(*_PAIRS, *((row, 24 + row % 16, 1.0) for row in range(24)))
    ),
    "someone who liked everything": replace(USUAL, rows=(*_PAIRS, *((24, item, 5.0) for item in range(24)))),
    "people who liked nothing": replace(
        USUAL, rows=(*_PAIRS, *((24 + row // 3, row % 24, 2.0) for row in range(60)))
    ),
    "one like each": replace(
        USUAL,
        genres=lambda item: "",
        rows=tuple((row, row * row // 576, 5.0) for row in range(72)),
        **ALIKE,
    ),
    "most like one thing that nobody else does": replace(
        USUAL, items=60, people=60, rows=(*_PAIRS, *((row, row, 5.0) for row in range(24, 60)))
    ),
    "one item liked by all": replace(
        USUAL,
        rows=tuple((row, item, 5.0 if item == 7 else 1.0) for row in range(24) for item in (7, row % 7)),
        **ALIKE,
    ),
    "everyone likes everything": replace(
        USUAL, items=6, rows=tuple((row, item, 5.0) for row in range(9) for item in range(6)), **ALIKE
    ),
    "three items": replace(
        USUAL,
        items=3,
        rows=tuple((row, item, 5.0) for row in range(9) for item in range(3) if item != row % 3),
        **ALIKE,
    ),
    "one item": replace(USUAL, items=1, rows=((0, 0, 4.0), (1, 0, 3.0)), **ALIKE),
    "popularity that falls steeply": replace(USUAL, items=60, rows=_skewed()),
    "more items than are solved for": replace(USUAL, items=12_000, people=30, rated=60),
}


@dataclass(frozen=True)
class Made:
    """A world on disk, and what came of it."""

    world: World
    data: Path
    answers: Recommender

    def shown(self, taste: Taste, count: int = 10) -> list[int]:
        """Rows of the first results for a taste, checked."""
        listing = Listing(count, excluded=frozenset(taste.history))
        answer = self.answers.recommend(taste, listing)
        assert len(answer.rows) == min(count, len(self.answers.generation.catalogue) - len(taste.history))
        assert len(set(answer.rows)) == len(answer.rows)
        assert not set(answer.rows) & taste.history.keys()
        assert np.isfinite(answer.scores).all()
        assert list(answer.scores) == sorted(answer.scores, reverse=True)
        return list(answer.rows)


@pytest.fixture(scope="module", autouse=True)
def small_squares() -> Iterator[None]:
    """Solve for as few of many items as if there were millions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher, "LARGEST", SOLVED)
        patch.setattr(markov, "LARGEST", SOLVED)
        yield


@pytest.fixture(scope="module", params=WORLDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    world, folder = WORLDS[request.param], tmp_path_factory.mktemp("odd")
    world.write(folder / "data")
    fit_run(folder / "data", RECIPE, folder / "run")
    build(folder / "run", store := Store(folder / "store"))
    return Made(world, folder / "data", Recommender(store.load()))


def test_everyone_gets_a_list_without_what_they_know(made: Made) -> None:
    generation = made.answers.generation
    size, genres = len(generation.catalogue), len(generation.catalogue.genre_names)
    spaces = [generation.index.exact.view, generation.next_index.exact.view, generation.directions]
    for vectors in spaces:
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    histories: list[dict[int, float]] = [{}, {0: 5.0}, {size - 1: 0.5}, dict.fromkeys(range(size), 5.0)]
    histories.append(dict.fromkeys(range(size // 2), 4.0))
    tastes = [Taste({}, history, asks_next=asks) for history in histories for asks in (False, True)]
    tastes += [Taste({genre: 5.0}, history) for genre in range(genres) for history in histories[:2]]
    for taste in tastes:
        made.shown(taste)
    for row in {0, size // 2, size - 1}:
        similar = made.answers.similar(Seeds([row]), Listing(5))
        assert len(similar.rows) == min(5, size - 1)
        assert row not in similar.rows
        assert np.isfinite(similar.scores).all()


@pytest.mark.parametrize("made", [name for name in WORLDS if WORLDS[name].told_apart], indirect=True)
def test_two_tastes_get_two_lists(made: Made) -> None:
    liked: tuple[list[int], list[int]] = ([], [])
    for person, item, rating in made.world.ratings():
        if rating == made.world.liked and person < 2:
            liked[person].append(item)
    for asks_next in (False, True):
        even, odd = (
            made.shown(Taste({}, dict.fromkeys(items[:4], 5.0), asks_next), count=6) for items in liked
        )
        assert np.mean(np.array(even) % 2) < np.mean(np.array(odd) % 2)


@pytest.mark.parametrize(
    ("made", "best"), [("one like each", 0), ("one item liked by all", 7)], indirect=["made"]
)
def test_where_tastes_tell_nothing_the_best_liked_comes_first(made: Made, best: int) -> None:
    assert made.shown(Taste({}, {23: 1.0}))[0] == best


@pytest.mark.parametrize("made", ["nothing but likes"], indirect=True)
def test_where_all_is_liked_a_dislike_is_heard_and_sinks_nothing_else(made: Made) -> None:
    answers = made.answers
    assert answers.lowest == pytest.approx(0.1)
    assert answers.in_stars({0: answers.lowest}) == pytest.approx({0: 0.5})
    likes = dict.fromkeys(range(0, 8, 2), 5.0)
    alone, beside = made.shown(Taste({}, likes), count=8), made.shown(Taste({}, likes | {1: 0.5}), count=8)
    assert len({*alone} & {*beside}) >= 6


@pytest.mark.parametrize("made", ["no genres"], indirect=True)
def test_the_card_says_nothing_of_the_diversity_of_genres_that_are_not_there(made: Made) -> None:
    card = (made.data.parent / "run" / "card.md").read_text()
    assert "overlap@10" in card
    assert "diversity@10" not in card


@pytest.fixture
def evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Asks the command line for all that the data of a world allow: status, output and errors."""

    def evaluated(world: str, *options: str) -> tuple[int, str, str]:
        WORLDS[world].write(tmp_path / "data")
        command = ["evaluate", "--data", str(tmp_path / "data"), "--protocol", "all", *options]
        for name, value in SMALL.items():
            command += ["--set", f"{name}={list(value) if isinstance(value, tuple) else value}"]
        return main(command), *capsys.readouterr()

    return evaluated


@pytest.mark.parametrize(
    ("world", "measured", "said"),
    [
        (
            MOMENT,
            {*TOLD, "cold-items"} - {"two-genres", "three-genres"},
            "three-genres is left out: this protocol needs 3 genres to tick, got a catalogue with 1\n"
            "next-item is left out: this protocol needs users who",
        ),
        ("two people", {"next-item", "time", "cold-items"}, f"{', '.join(TOLD)} are left out: "),
        ("zeros alone", {*PROTOCOLS} - {"three-genres"}, "three-genres is left out: "),
    ],
)
def test_what_the_data_allow_is_measured_beside_the_peers(
    world: str, measured: set[str], said: str, evaluate: Callable[..., tuple[int, str, str]]
) -> None:
    status, output, errors = evaluate(world, "--peers")
    assert status == 0
    tables = output.split("protocol: ")[1:]
    assert {table.split(maxsplit=1)[0] for table in tables} == measured
    assert all("ials" in table for table in tables if table.startswith(("new-users", "next-item")))
    assert "nan" not in output
    assert said in errors
    assert ("too few to validate on" in output) == (world == "two people")


def test_data_that_allow_no_question_are_refused_with_the_reasons(
    evaluate: Callable[..., tuple[int, str, str]],
) -> None:
    status, output, errors = evaluate("one like each")
    assert (status, output) == (1, "")
    assert errors.startswith("error: ")
    assert "users with 5 likes must be held out, got 0.1 of 0 users" in errors
