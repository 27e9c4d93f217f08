import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepmoviematch.data.arrays import Floats
from deepmoviematch.indexer.build import build, bundle, kth_best, recall
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.search.vectors import FlatIndex
from deepmoviematch.indexer.store import Store
from deepmoviematch.indexer.towers import item_tower


def test_it_publishes_the_run_with_all_its_provenance(run: Path, store: Store) -> None:
    generation = build(run, store)
    loaded = Run.load(run)
    assert store.current() == generation.id
    assert generation.manifest["run"] == loaded.provenance
    about = {
        "kind": "flat",
        "dim": generation.index.dim,
        "items": 14,
        "recall_at_10": 1.0,
        "similar_recall_at_10": 1.0,
    }
    if generation.next_index is not generation.index:
        about |= {"next_dim": generation.next_index.dim, "next_recall_at_10": 1.0}
    assert generation.manifest["index"] == about
    assert generation.manifest["libraries"].keys() == {"python", "numpy", "faiss"}
    assert generation.catalogue.to_json() == loaded.catalogue.to_json()
    assert (generation.popularity == loaded.popularity).all()


def test_the_indexes_hold_what_the_item_tower_says(run: Path, store: Store) -> None:
    generation, loaded = build(run, store), Run.load(run)
    tower = item_tower(loaded.item_tower)
    vectors = tower.embed(loaded.catalogue)
    assert (generation.index.exact.view == vectors).all()
    assert (generation.next_index.exact.view == tower.embed_next(loaded.catalogue)).all()
    assert (generation.directions == tower.directions(vectors)).all()


def test_a_generation_holds_these_files(run: Path, store: Store) -> None:
    generation = build(run, store)
    folder = store.folder / "generations" / generation.id
    apart = generation.next_index is not generation.index
    assert {path.name for path in folder.iterdir()} == {
        *({"next.faiss", "next_vectors.npy"} if apart else ()),
        "catalogue.json",
        "directions.npy",
        "golden.json",
        "index.faiss",
        "item_tower",
        "manifest.json",
        "popularity.npy",
        *({"rating_head"} if generation.rating_head else ()),
        "reference.json",
        "similar.faiss",
        "user_tower",
        "vectors.npy",
    }


def test_the_same_run_gives_the_same_files(run: Path) -> None:
    assert bundle(Run.load(run))[0] == bundle(Run.load(run))[0]


def test_towers_of_two_widths_are_refused(run: Path) -> None:
    loaded = Run.load(run)
    of_users = loaded.user_tower.settings["kind"] == "genres"
    arrays = (loaded.user_tower if of_users else loaded.item_tower).arrays
    for name in ("mlp_0_kernel", "mlp_0_bias") if of_users else ("ids", "content_1_kernel", "content_1_bias"):
        arrays[name] = arrays[name][..., :-1]
    arrays.pop("agreement", None)
    with pytest.raises(GenerationError, match=r"both towers must be as wide, got [46] and 5"):
        bundle(loaded)


def test_a_sample_user_of_another_catalogue_is_refused(new_run: Callable[[], Path], store: Store) -> None:
    folder = new_run()
    manifest, reference = folder / "manifest.json", folder / "reference.json"
    digest = hashlib.sha256(reference.read_bytes()).hexdigest()
    reference.write_text(reference.read_text().replace("[13, 4.0]", "[14, 4.0]"))
    edited = hashlib.sha256(reference.read_bytes()).hexdigest()
    manifest.write_text(manifest.read_text().replace(digest, edited))
    with pytest.raises(
        GenerationError, match=f"{folder}: the parts of a run must fit each other, got IndexErr"
    ):
        build(folder, store)
    assert store.current() is None


def test_recall_is_the_share_of_the_true_best_that_is_found() -> None:
    rows = np.eye(4, dtype=np.float32)
    queries = np.array([[4, 3, 2, 1], [1, 2, 3, 4]], dtype=np.float32)
    kth = kth_best(rows, queries, 2)
    assert kth.tolist() == [3, 3]
    assert recall(FlatIndex.of(rows), queries, kth, 2) == 1.0
    assert recall(_blind_to_first(rows), queries, kth, 2) == 0.75  # misses row 0, the best for the first


def test_of_few_items_all_are_the_true_best() -> None:
    rows, queries = np.eye(3, dtype=np.float32), np.array([[4, 3, 2]], dtype=np.float32)
    kth = kth_best(rows, queries, 10)
    assert kth.tolist() == [2]
    assert recall(FlatIndex.of(rows), queries, kth, 10) == 1.0


def test_recall_does_not_count_a_tie_as_a_miss() -> None:
    rows = np.ones((3, 2), dtype=np.float32)
    assert recall(_blind_to_first(rows), rows[:1], kth_best(rows, rows[:1], 2), 2) == 1.0


def _blind_to_first(rows: Floats) -> FlatIndex:
    rows = rows.copy()
    rows[0] = -1
    return FlatIndex.of(rows)


def test_a_build_does_without_the_trainers_libraries(new_run: Callable[[], Path], tmp_path: Path) -> None:
    script = (
        "import sys; from deepmoviematch.indexer.__main__ import main;"
        f"status = main(['build', '--run', {str(new_run())!r}, '--store', {str(tmp_path / 'store')!r}]);"
        "found = {'tensorflow', 'keras', 'pandas', 'sklearn', 'matplotlib'} & sys.modules.keys();"
        "sys.exit(f'imported {found}' if found else status)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)
