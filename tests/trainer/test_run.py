import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepmoviematch.data.dataset import Dataset
from deepmoviematch.indexer.run import Run
from deepmoviematch.trainer import fit, run as trainer_run
from deepmoviematch.trainer.fit import fit_retrieval, fit_seed
from deepmoviematch.trainer.likes import popularity
from deepmoviematch.trainer.models.seed import SeedRows
from deepmoviematch.trainer.recipe import Recipe, RetrievalRecipe, SeedRecipe, load_recipe
from deepmoviematch.trainer.run import write_run

SEED = SeedRecipe(name="seed", epochs=1)
RETRIEVAL = RetrievalRecipe(
    name="retrieval",
    embedding_dim=4,
    hidden=(4,),
    epochs=2,
    batch_size=32,
    validation_share=0.2,
    sequence_epochs=1,
)


def write(folder: Path, dataset: Dataset, recipe: Recipe) -> Path:
    if isinstance(recipe, SeedRecipe):
        rows = SeedRows.of_ratings(dataset.catalogue, dataset.ratings, recipe)
        seeded = fit_seed(dataset.catalogue, rows, recipe)
        write_run(folder, fitted=seeded, recipe=recipe, dataset=dataset)
    else:
        fitted = fit_retrieval(dataset.catalogue, dataset.ratings, recipe)
        write_run(folder, fitted=fitted, recipe=recipe, dataset=dataset)
    return folder


@pytest.fixture(scope="module")
def folder(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that held a run of the other family before."""
    path = write(tmp_path_factory.mktemp("run"), dataset, SEED)
    return write(path, dataset, RETRIEVAL)


def test_the_manifest_names_every_file_with_its_hash(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == present - {"manifest.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_manifest_says_where_the_run_comes_from(folder: Path, dataset: Dataset) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["data_digest"] == dataset.digest
    assert manifest["recipe"] == RETRIEVAL.to_dict()
    assert manifest["scale"] == {"low": 1.0, "top": 5.0}
    assert manifest["metrics"]["users"] == 12
    assert set(manifest["metrics"]["rankings"]) == {"towers", "popularity", "ease"}
    assert {"tensorflow", "keras", "numpy", "scipy"} <= set(manifest["libraries"])


def test_the_card_names_every_file(folder: Path) -> None:
    files = (folder / "card.md").read_text().partition("## Files")[2]
    for path in folder.iterdir():
        assert f"`{path.name}{'/' if path.is_dir() else ''}`" in files


@pytest.mark.parametrize("most", [1, 30])
def test_the_card_says_where_ease_is_left_out(
    most: int, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "EASE_ITEMS", most)
    card = (write(tmp_path, dataset, RETRIEVAL) / "card.md").read_text()
    assert ("| ease | " in card) is (most == 30)
    assert ("EASE is left out" in card) is (most == 1)


def test_the_card_says_that_settings_were_chosen_from_the_ratings_of_the_users_asked_too(
    folder: Path,
) -> None:
    quality = (folder / "card.md").read_text().partition("## Quality")[2].partition("## ")[0]
    assert "was chosen from all ratings, those of the same users among them" in quality


def test_the_reference_says_how_often_each_genre_was_rated(folder: Path, dataset: Dataset) -> None:
    shares = json.loads((folder / "reference.json").read_text())["features"]["genre_shares"]
    assert shares == pytest.approx(dataset.catalogue.genres[dataset.ratings.items].mean(axis=0).tolist())


def test_figures_that_no_manifest_can_hold_leave_the_run_before_as_it_was(
    dataset: Dataset, tmp_path: Path
) -> None:
    before = write(tmp_path, dataset, SEED) / "manifest.json"
    manifest = before.read_bytes()
    rows = SeedRows.of_ratings(dataset.catalogue, dataset.ratings, SEED)
    metrics = {"protocol": "rating", "rows": len(rows.test), "test_mse": np.nan}
    fitted = replace(fit_seed(dataset.catalogue, rows, SEED), metrics=metrics)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_run(tmp_path, fitted=fitted, recipe=SEED, dataset=dataset)
    assert before.read_bytes() == manifest
    assert Run.load(tmp_path).provenance["recipe"] == SEED.to_dict()


def test_a_recipe_with_any_name_reads_back(tmp_path: Path) -> None:
    recipe = replace(SEED, name='saat "\\" \U0001f331')
    path = tmp_path / "recipe.toml"
    path.write_text(trainer_run._toml(recipe), encoding="utf-8")
    assert load_recipe(str(path)) == recipe


def test_the_resolved_recipe_reads_back(folder: Path) -> None:
    assert load_recipe(str(folder / "recipe.toml")) == RETRIEVAL


@pytest.mark.parametrize("recipe", [SEED, RETRIEVAL], ids=["seed", "retrieval"])
def test_the_indexer_takes_the_run(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    run = Run.load(write(tmp_path, dataset, recipe))
    assert replace(run.catalogue, columns=()).to_json() == dataset.catalogue.to_json()
    assert len(run.reference["histories"]) == 32
    assert len(run.reference["preferences"]) == 8


def test_the_catalogue_says_how_its_items_were_rated(dataset: Dataset, folder: Path) -> None:
    average, count = Run.load(folder).catalogue.columns
    assert (average.name, count.name) == ("average_rating", "rating_count")
    for row in range(30):
        given = dataset.ratings.ratings[dataset.ratings.items == row]
        assert count.values[row] == len(given)
        assert average.values[row] == (pytest.approx(given.mean()) if len(given) else None)


def test_curves_have_a_line_for_every_epoch_and_a_picture(folder: Path) -> None:
    lines = (folder / "curves.csv").read_text().splitlines()
    assert lines[0].startswith("phase,epoch,loss,validation_ndcg@100")
    phases = [line.partition(",")[0] for line in lines[1:]]
    kept = json.loads((folder / "manifest.json").read_text())["metrics"]["epochs"]
    assert phases == ["measure"] * 2 + ["refit"] * kept + ["sequence"]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_popularity_is_the_share_of_users_who_liked_an_item(dataset: Dataset, folder: Path) -> None:
    ratings = dataset.ratings
    shares = popularity(ratings, 30)
    assert shares[3] == pytest.approx(((ratings.items == 3) & (ratings.ratings >= 4)).sum() / 60)
    assert np.array_equal(np.load(folder / "popularity.npy"), shares)
