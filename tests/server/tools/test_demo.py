import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepmoviematch.server.__main__ import main
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.tools.demo import questions
from deepmoviematch.server.tools.lookup import Lookup, connected
from deepmoviematch.v1 import recommender_pb2 as pb


def asked(serve: Callable[..., Any], recommender: Recommender) -> list[list[str]]:
    current = Current()
    current.set(recommender)
    with serve(current) as running, connected(running.address) as client:
        return [words for _, words in questions(client)]


def test_the_demo_names_well_known_films(serve: Callable[..., Any], recommender: Recommender) -> None:
    taste, liked, near = asked(serve, recommender)
    assert taste == ["recommend", "--genre", "action=5", "--genre", "sci-fi=4.5"]
    assert liked[1:] == [
        "--like",
        "Star Wars (1977)",
        "--like",
        "Alien (1979)",
        "--like",
        "Blade Runner (1982)",
    ]
    assert near == ["similar", "Toy Story (1995)"]


@pytest.mark.parametrize("expected", [(0, 0), (40, 3)], ids=["no genres", "forty genres"])
def test_the_demo_names_what_is_popular_elsewhere(
    serve: Callable[..., Any],
    publish: Callable[..., Any],
    catalogues: SimpleNamespace,
    tmp_path: Path,
    expected: tuple[int, int],
) -> None:
    genres, stated = expected
    generation = publish(tmp_path / "store", catalogues.books(genres=genres), scale=(1.0, 10.0))
    taste, liked, near = asked(serve, Recommender(generation))
    popular = [generation.catalogue.label(row) for row in generation.popular[:3]]
    assert taste.count("--genre") == stated
    assert liked[2::2] == popular
    assert near == ["similar", popular[0]]


def test_the_demo_counts_one_film_as_one() -> None:
    class OfOne(Lookup):
        def __init__(self) -> None:
            """Asks nobody."""

        def recommend(self, request: pb.RecommendRequest, *, pages: int = 1) -> pb.RecommendResponse:
            return pb.RecommendResponse(results=[pb.Recommendation(item_id="6")])

        def find(self, text: str, page_size: int = 0, *, pages: int = 1) -> pb.FindItemsResponse:
            return pb.FindItemsResponse()

    captions = [caption for caption, _ in questions(OfOne())]
    assert captions[1] == "What suits somebody who liked this one?"


@pytest.mark.parametrize("odd", ["", "Volume \x1b[1m"])
def test_the_demo_names_by_its_id_what_a_title_would_not_mean_alone_or_show(
    serve: Callable[..., Any],
    publish: Callable[..., Any],
    catalogues: SimpleNamespace,
    tmp_path: Path,
    odd: str,
) -> None:
    books = catalogues.books()
    popular = publish(tmp_path / "first", books).popular[:5].tolist()
    titles = dict(enumerate(books.titles))
    titles[popular[0]] = books.item_ids[popular[1]]  # another's id
    titles[popular[1]] = odd
    titles[popular[2]] = titles[popular[4]] = "Poems"
    renamed = replace(books, titles=tuple(titles.values()))
    _, liked, near = asked(serve, Recommender(publish(tmp_path / "second", renamed)))
    assert liked[2::2] == [books.item_ids[row] for row in popular[:3]]
    assert near == ["similar", books.item_ids[popular[0]]]


def test_the_demo_shows_three_tables_and_leaves_nothing_running(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--store", str(store)]) == 0
    out = capsys.readouterr().out
    assert out.count("$ python -m deepmoviematch.server query ") == 3
    assert out.count("generation g000001-") == 3
    assert out.splitlines()[-1].startswith("the server has stopped")


def test_the_demo_needs_a_generation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--store", str(tmp_path)]) == 1
    assert "must hold a current generation, got none" in capsys.readouterr().err


def test_the_demo_says_what_is_wrong_with_the_generation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], publish: Callable[..., Any]
) -> None:
    generation = publish(tmp_path)
    (tmp_path / "generations" / generation.id / "popularity.npy").unlink()
    assert main(["demo", "--store", str(tmp_path)]) == 1
    assert "popularity.npy" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_leaves_nothing_running_when_it_is_stopped(store: Path, number: int) -> None:
    command = [sys.executable, "-m", "deepmoviematch.server", "demo", "--store", str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as demo:
        assert demo.stdout is not None
        demo.stdout.readline()
        os.killpg(demo.pid, signal.SIGINT) if number == signal.SIGINT else demo.terminate()
        assert demo.wait(30) in {130, 143}
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.pid, 0)
