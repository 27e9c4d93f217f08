"""The seed recipe on the matrices of the exercise, written here in a small edition."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.features import genre_means
from deepmoviematch.data.lab import read_lab
from deepmoviematch.data.readers import read
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.__main__ import main
from deepmoviematch.trainer.fit import seed_rows
from deepmoviematch.trainer.models.seed import SeedRows
from deepmoviematch.trainer.recipe import SeedRecipe

SMALL = ["--recipe", "seed", "--set", "epochs=1", "--set", "hidden=[8]"]


@pytest.fixture(scope="module")
def folder(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A row for each rating, each twice, as the exercise repeats the rows of some users."""
    path = tmp_path_factory.mktemp("lab")
    catalogue, ratings = dataset.catalogue, dataset.ratings
    names = ",".join(catalogue.genre_names)
    means = np.nan_to_num(genre_means(UserBatch.of_histories(ratings, 3), catalogue.genres))
    averages = np.bincount(ratings.items, weights=ratings.ratings) / np.bincount(ratings.items)
    years = np.where(catalogue.years > 0, catalogue.years, 1990)
    movies = np.column_stack([np.arange(30), years, averages, catalogue.genres])
    counts = np.diff(ratings.offsets)
    users = np.column_stack([np.arange(60), counts, np.full(60, 3.5), means])
    twice = np.repeat(np.arange(len(ratings)), 2)
    tables = {
        "item_train": movies[ratings.items[twice]],
        "user_train": users[ratings.users[twice]],
        "y_train": ratings.ratings[twice][:, None],
        "item_vecs": movies,
    }
    for name, values in tables.items():
        np.savetxt(path / f"content_{name}.csv", values, delimiter=",", fmt="%.6g")
    (path / "content_item_train_header.txt").write_text(f"movie id,year,ave rating,{names}\n")
    (path / "content_user_train_header.txt").write_text(f"user id,rating count,rating ave,{names}\n")
    lines = [f"{row},{catalogue.titles[row]},{'|'.join(catalogue.genres_of(row))}" for row in range(30)]
    (path / "content_movie_list.csv").write_text("\n".join(["movieId,title,genres", *lines]) + "\n")
    return path


def test_the_rows_are_those_of_the_files(folder: Path) -> None:
    rows = SeedRows.of_lab(read_lab(folder), SeedRecipe(name="seed"))
    assert rows.feature_names == ("year", "ave rating", "Funny", "Sad", "Short")
    items = np.loadtxt(folder / "content_item_train.csv", delimiter=",")
    users = np.loadtxt(folder / "content_user_train.csv", delimiter=",")
    assert rows.items == pytest.approx(items[:, 1:], rel=1e-6)
    assert rows.users == pytest.approx(users[:, 3:], rel=1e-6)
    assert len(rows.test) == 288  # a fifth of 1440
    assert rows.leaks


def test_the_average_rating_can_be_left_out(folder: Path) -> None:
    rows = SeedRows.of_lab(read_lab(folder), SeedRecipe(name="letter", average_rating=False))
    assert rows.feature_names == ("year", "Funny", "Sad", "Short")
    assert rows.catalogue.shape == (30, 4)


def run(*arguments: object) -> int:
    return main([*map(str, arguments)])


def test_evaluate_says_both_reasons_why_the_split_flatters(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", "--data", folder, "--protocol", "rating", "--json", *SMALL) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["repeated_share"] == pytest.approx(0.8, abs=0.05)
    assert "repeat a user and movie" in table["notes"][1]
    assert "computed from test ratings too" in table["notes"][2]
    assert table["honest"]["repeated_share"] == 0
    assert len(table["honest"]["notes"]) == 1
    assert table["honest"]["test_rows"] == 144  # a fifth of 720


def test_exercise_and_fit_take_the_matrices(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("exercise", "--data", folder, "--taste", "sad=5", *SMALL) == 0
    assert "first 5 training rows" in capsys.readouterr().out
    out = tmp_path / "run"
    assert run("fit", "--data", folder, "--out", out, *SMALL) == 0
    digest = json.loads((out / "manifest.json").read_text())["data_digest"]
    assert digest == read(folder).digest


def test_a_whole_form_beside_the_matrices_is_fitted_alone(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,A (1999),x\n2,B (1999),y\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating\na,1,4\na,2,2\nb,1,5\n")
    dataset, recipe = read(tmp_path), SeedRecipe(name="seed")
    assert seed_rows(tmp_path, dataset, recipe).user_ids == ("a", "a", "b")
    assert seed_rows(folder, read(folder), recipe).digest == SeedRows.of_lab(read_lab(folder), recipe).digest


def test_the_retrieval_recipe_takes_the_matrices_as_two_tables(folder: Path, tmp_path: Path) -> None:
    small = ["--set", "epochs=1", "--set", "hidden=[8]"]
    assert run("fit", "--data", folder, "--out", tmp_path / "run", *small) == 0
