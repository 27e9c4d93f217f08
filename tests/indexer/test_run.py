import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.run import Run


def test_it_holds_what_the_trainer_wrote(run: Path) -> None:
    loaded = Run.load(run)
    assert len(loaded.catalogue) == len(loaded.popularity) == 14
    assert loaded.provenance["dataset"] == "tiny"
    assert {loaded.user_tower.settings["kind"], loaded.item_tower.settings["kind"]} in (
        {"taste", "identity"},
        {"genres", "content"},
    )


def test_files_that_the_manifest_does_not_list_are_nobodys_business(run: Path) -> None:
    (run / "curves.csv").write_text("step,loss\n")
    Run.load(run)


def unfinished(run: Path) -> None:
    (run / "manifest.json").unlink()


def cut(run: Path) -> None:
    os.truncate(run / "popularity.npy", 100)


def gone(run: Path) -> None:
    (run / "item_tower" / "tower.json").unlink()


def newer(run: Path) -> None:
    path = run / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 3'))


def silent(run: Path) -> None:
    path = run / "manifest.json"
    path.write_text(path.read_text().replace('"seed"', '"sown"'))


def generation(run: Path) -> None:
    path = run / "manifest.json"
    path.write_text(path.read_text().replace('"kind": "run"', '"kind": "generation"'))


def elsewhere(run: Path) -> None:
    path = run / "manifest.json"
    path.write_text(path.read_text().replace('"popularity.npy"', '"../popularity.npy"'))


def moved(run: Path) -> None:
    (run / "item_tower").rename(run.parent / "item_tower")
    (run / "item_tower").symlink_to(run.parent / "item_tower")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unfinished, "a run must have a manifest.json, which is written last, got none; it is incomplete"),
        (cut, "popularity.npy must have SHA-256 .* it was edited or damaged"),
        (gone, "item_tower/tower.json is missing"),
        (newer, "format 3 was written by a newer version"),
        (silent, "manifest.json must say .*, got no seed"),
        (generation, "manifest.json must be of a run, got 'generation'"),
        (elsewhere, "manifest.json must name files below its folder, got '../popularity.npy'"),
        (moved, "item_tower/.* must lie in the folder, got a link"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_run_that_is_not_whole_is_refused(run: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(run)
    with pytest.raises(GenerationError, match=f"{run}: {message}"):
        Run.load(run)


def test_a_file_that_is_not_what_its_name_says_is_refused(run: Path) -> None:
    path = run / "manifest.json"
    (run / "popularity.npy").write_bytes(b"")
    empty, digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", path.read_text()
    at = digest.index('"popularity.npy": "') + len('"popularity.npy": "')
    path.write_text(digest[:at] + empty + digest[at + 64 :])
    with pytest.raises(GenerationError, match="a run must be readable, got EOFError"):
        Run.load(run)


def test_no_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"nowhere: a run must have a manifest\.json"):
        Run.load(tmp_path / "nowhere")


def test_popularity_is_read_as_written(run: Path) -> None:
    assert (Run.load(run).popularity == np.load(run / "popularity.npy")).all()
