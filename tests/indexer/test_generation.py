import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from deepmoviematch.data.rating_head import RatingHead
from deepmoviematch.data.ratings import RatingScale
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.data.weights import FORMAT, Weights
from deepmoviematch.indexer.generation import load
from tests.indexer.signing import sign

GOLDEN = sorted((Path(__file__).parent / "golden").glob("v*"))


def test_it_holds_what_was_published(folder: Path) -> None:
    generation = load(folder)
    assert generation.id == folder.name
    assert (len(generation.catalogue), generation.index.dim, generation.similar.dim) == (14, 6, 6)
    assert generation.scale == RatingScale(low=0.5, top=5.0)
    assert generation.directions.shape == (14, 6)
    assert (generation.similar.exact.view == generation.directions).all()
    assert generation.manifest["run"]["metrics"]["new-users"]["ndcg"]["mean"] == 0.25


def test_it_predicts_ratings_as_the_runs_head_does(folder: Path) -> None:
    generation = load(folder)
    head = generation.rating_head
    assert head is not None
    expected = RatingHead(
        Weights.load(folder / "rating_head"), generation.directions, RatingScale(low=0.5, top=5.0)
    )
    history = {3: 4.5, 9: 1.0}
    assert head.predict(history, range(14)) == expected.predict(history, range(14))


def test_popular_rows_come_by_popularity_then_row(folder: Path) -> None:
    shares = np.array([0.1, 0.5, 0.5, 0, 0.9, *[0.2] * 9], dtype=np.float32)
    np.save(folder / "popularity.npy", shares)
    sign(folder)
    assert load(folder).popular.tolist() == [4, 1, 2, *range(5, 14), 0, 3]


def test_a_loaded_generation_outlives_files_that_are_emptied_in_place(folder: Path) -> None:
    """Were an array still mapped from its file, touching it would end the process."""
    generation = load(folder)
    users = UserBatch.of(3, [{0: 5.0}], [{1: 4.0}])
    expected = generation.index.search(generation.user_tower.embed(users), 5)
    for path in folder.rglob("*.*"):
        os.truncate(path, 0)
    again = generation.index.search(generation.user_tower.embed(users), 5)
    assert again.rows.tolist() == expected.rows.tolist()
    assert generation.similar.search(generation.directions[:1], 1).rows.tolist() == [[0]]


def test_a_mapped_generation_answers_alike_and_outlives_its_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are removed or replaced, as `gc` does, leave what was mapped from them alone."""
    users = UserBatch.of(3, [{0: 5.0}], [{1: 4.0}])
    in_memory = load(folder)
    expected = in_memory.index.search(in_memory.user_tower.embed(users), 5)
    monkeypatch.setattr("deepmoviematch.data.weights.MAPPED_BYTES", 1)
    monkeypatch.setattr("deepmoviematch.indexer.generation.MAPPED_BYTES", 1)
    generation = load(folder)
    assert isinstance(generation.directions, np.memmap)
    shutil.rmtree(folder)
    again = generation.index.search(generation.user_tower.embed(users), 5)
    assert (again.rows == expected.rows).all()
    assert (again.scores == expected.scores).all()
    assert generation.similar.nearest(generation.directions[:1], [1])[0].rows == [0]


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda path: str(path.name))
def test_todays_code_loads_the_golden_bundle(folder: Path) -> None:
    generation = load(folder)  # which replays the golden queries
    assert generation.manifest["format"] == int(folder.name[1:])
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 100_000


def test_there_is_a_golden_bundle_of_every_format() -> None:
    assert [folder.name for folder in GOLDEN] == [f"v{version + 1}" for version in range(FORMAT)]
