"""A user's own two files, with columns of their own, all the way to filtered answers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from pyarrow import parquet

from deepmoviematch.client import CallError, Client, pb
from deepmoviematch.indexer.build import build
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.host.options import ServeOptions
from deepmoviematch.server.host.process import create_server
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.trainer.quiet import import_tensorflow

import_tensorflow()

from deepmoviematch.trainer.fit import fit_run  # noqa: E402
from deepmoviematch.trainer.recipe import RetrievalRecipe  # noqa: E402

GAMES, PLAYERS, EACH = 40, 30, 8
RECIPE = RetrievalRecipe(
    name="tiny",
    embedding_dim=4,
    hidden=(8,),
    epochs=1,
    batch_size=16,
    validation_share=0.0,
    sequence_epochs=0,
)


def game(row: int) -> dict[str, str]:
    """What movies.csv says of a game; cells may be empty."""
    return {
        "movieId": f"game-{row}",
        "title": f"Game {row}",
        "year": str(1980 + row) if row % 5 else "",
        "genres": "Puzzle|Strategy" if row % 2 else "Arcade",
        "minutes": f"{10 + row / 2}" if row % 3 else "",
        "coop": ("true", "false", "")[row % 3],
        "platforms": "|".join(("PC", "Switch", "Amiga")[: row % 4]),
        "publisher": "Nintendo" if row % 7 == 0 else "",
    }


@pytest.fixture(scope="module")
def ratings() -> dict[tuple[int, int], int]:
    """(player, game) -> rating of 1 to 10; the last game is never rated."""
    rng = np.random.default_rng(0)
    return {
        (player, int(row)): int(rng.integers(1, 11))
        for player in range(PLAYERS)
        for row in rng.choice(GAMES - 1, EACH, replace=False)
    }


@pytest.fixture(scope="module", params=["csv", "parquet"])
def client(
    request: pytest.FixtureRequest,
    ratings: dict[tuple[int, int], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Client]:
    """Of a server of the data, which are fitted, indexed and served as any others."""
    folder: Path = tmp_path_factory.mktemp("games")
    rows = [game(row) for row in range(GAMES)]
    movies = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    rated = [f"player-{player},game-{row},{stars}" for (player, row), stars in ratings.items()]
    (folder / "movies.csv").write_text("\n".join(movies))
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating", *rated]))
    if request.param == "parquet":
        for path in (folder / "movies.csv", folder / "ratings.csv"):
            parquet.write_table(pyarrow.csv.read_csv(path), path.with_suffix(".parquet"))
            path.unlink()
    fit_run(folder, RECIPE, folder / "run")
    build(folder / "run", Store(folder / "store"))
    current = Current()
    current.set(Recommender(Store(folder / "store").load()))
    wiring = create_server(current, ServeOptions(store=folder / "store", port=0))
    wiring.start()
    wiring.health.serve()
    with Client(f"127.0.0.1:{wiring.port}") as client:
        yield client
    wiring.stop()


def passing(client: Client, text: str) -> list[int]:
    """The games that satisfy a filter."""
    user = pb.UserFeatures(genre_preferences={"arcade": 5})
    response = client.recommend(pb.RecommendRequest(user=user, filter=text, page_size=1000))
    assert response.metadata.filtered_out == GAMES - len(response.results)
    return sorted(int(item.item_id.removeprefix("game-")) for item in response.results)


def test_filters_know_the_columns_by_their_kinds(client: Client) -> None:
    rows = range(GAMES)
    assert passing(client, "minutes >= 20") == [row for row in rows if row % 3 and 10 + row / 2 >= 20]
    assert passing(client, "coop = true") == [row for row in rows if row % 3 == 0]
    assert passing(client, "NOT coop = false") == [row for row in rows if row % 3 != 1]
    assert passing(client, "platforms:(amiga OR switch)") == [row for row in rows if row % 4 >= 2]
    assert passing(client, "publisher:tend genres:puzzle") == [row for row in rows if row % 14 == 7]
    assert passing(client, "year < 1990") == [row for row in range(10) if row % 5]


def test_filters_know_how_the_items_were_rated(client: Client, ratings: dict[tuple[int, int], int]) -> None:
    given = [[stars for (_, rated), stars in ratings.items() if rated == row] for row in range(GAMES)]
    assert passing(client, "average_rating >= 5.5") == [
        row for row, stars in enumerate(given) if stars and sum(stars) / len(stars) >= 5.5
    ]
    assert passing(client, "rating_count > 5") == [row for row, stars in enumerate(given) if len(stars) > 5]
    liked = [sum(rating >= 8 for rating in stars) / PLAYERS for stars in given]  # 4 stars and more
    assert passing(client, "popularity >= 0.1") == [row for row, share in enumerate(liked) if share >= 0.1]
    assert passing(client, "NOT average_rating:*") == [row for row, stars in enumerate(given) if not stars]


def test_a_filter_at_fault_names_the_columns_that_there_are(client: Client) -> None:
    with pytest.raises(CallError, match='got "minuten" at character 6; did you mean minutes'):
        passing(client, "coop:* minuten > 3".replace("coop:*", "a OR"))
