import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.generation import load
from tests.indexer.signing import sign


def remove(folder: Path) -> None:
    (folder / "vectors.npy").unlink()


def truncate(folder: Path) -> None:
    os.truncate(folder / "index.faiss", 99)


def extend(folder: Path) -> None:
    with (folder / "index.faiss").open("ab") as file:
        file.write(b"\0")


def edit(folder: Path) -> None:
    path = folder / "catalogue.json"
    path.write_bytes(path.read_bytes().replace(b"Action", b"Auctio"))


def add_file(folder: Path) -> None:
    (folder / "user_tower" / "more.npy").write_bytes(b"")


def add_folder(folder: Path) -> None:
    (folder / "more").mkdir()


def link(folder: Path) -> None:
    shutil.move(folder / "golden.json", folder.parent / "golden.json")
    (folder / "golden.json").symlink_to(folder.parent / "golden.json")


def link_folder(folder: Path) -> None:
    shutil.move(folder / "item_tower", folder.parent / "item_tower")
    (folder / "item_tower").symlink_to(folder.parent / "item_tower")


def pipe(folder: Path) -> None:
    (folder / "golden.json").unlink()
    os.mkfifo(folder / "golden.json")


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def half_a_manifest(folder: Path) -> None:
    os.truncate(folder / "manifest.json", 300)


def endless_manifest(folder: Path) -> None:
    os.truncate(folder / "manifest.json", 1 << 40)


def edited_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace("0.25", "0.75"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, "vectors.npy is missing"),
        (truncate, "index.faiss must have 381 bytes, got 99; it was truncated"),
        (extend, "index.faiss must have 381 bytes, got 382; it was altered"),
        (edit, "catalogue.json must have SHA-256 .* it was edited or damaged"),
        (add_file, "user_tower/more.npy is surplus"),
        (add_folder, "more is surplus"),
        (link, "golden.json must lie in the folder, got a link"),
        (link_folder, "item_tower must lie in the folder, got a link"),
        (pipe, "golden.json must be a plain file"),
        (
            no_manifest,
            "a generation must have a manifest.json, which is written last, got none; it is incomplete",
        ),
        (half_a_manifest, "manifest.json must be readable JSON"),
        (endless_manifest, "manifest.json must be at most 16777216 bytes, got 1099511627776"),
        (edited_manifest, "manifest.json must have an id that ends in .* it was edited"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damage_is_refused_by_name(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(GenerationError, match=f"{folder}: {message}"):
        load(folder)


def longer(values: dict[str, Any]) -> None:
    values["format"] = 2


def older(values: dict[str, Any]) -> None:
    values["format"] = 0


def no_format(values: dict[str, Any]) -> None:
    del values["format"]


def true_format(values: dict[str, Any]) -> None:
    values["format"] = True


def a_run(values: dict[str, Any]) -> None:
    values["kind"] = "run"


def climbing(values: dict[str, Any]) -> None:
    values["files"]["../outside.txt"] = values["files"]["golden.json"]


def absolute(values: dict[str, Any]) -> None:
    values["files"]["/etc/passwd"] = values["files"]["golden.json"]


def huge_file(values: dict[str, Any]) -> None:
    values["files"]["golden.json"]["size"] = 1 << 60


def wider(values: dict[str, Any]) -> None:
    values["index"]["dim"] = 7


def next_wider(values: dict[str, Any]) -> None:
    values["index"]["next_dim"] = 9


def more_items(values: dict[str, Any]) -> None:
    values["index"]["items"] = 15


def other_index(values: dict[str, Any]) -> None:
    values["index"]["kind"] = "lsh"


def no_scale(values: dict[str, Any]) -> None:
    del values["run"]["scale"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (longer, "format 2 was written by a newer version, this one reads 1; upgrade"),
        (older, "manifest.json must have format 1, got 0"),
        (no_format, "manifest.json must have format 1, got None"),
        (true_format, "manifest.json must have format 1, got True"),
        (a_run, "manifest.json must be of a generation, got 'run'"),
        (climbing, "manifest.json must name files below its folder, got '../outside.txt'"),
        (absolute, "manifest.json must name files below its folder, got '/etc/passwd'"),
        (huge_file, "golden.json must have 1152921504606846976 bytes"),
        (
            wider,
            "must come from one run, got indexes of width 7 and 8 and a tower of width 6 and 8",
        ),
        (next_wider, "got indexes of width 6 and 9 and a tower of width 6 and 8"),
        (more_items, "the index must hold 14 items, got 15"),
        (other_index, "an index must be one of flat, ivf, hnsw, got 'lsh'; it may come from a newer version"),
        (no_scale, "a generation must be readable, got KeyError\\('scale'\\)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_false_manifest_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    (folder.parent / "outside.txt").write_bytes((folder / "golden.json").read_bytes())
    sign(folder, change)
    with pytest.raises(GenerationError, match=message):
        load(folder)


def scaled(folder: Path) -> None:
    np.save(folder / "vectors.npy", np.load(folder / "vectors.npy") * np.float32(1.001))


def other_vectors(folder: Path) -> None:
    np.save(folder / "vectors.npy", np.load(folder / "directions.npy"))


def doubles(folder: Path) -> None:
    np.save(folder / "vectors.npy", np.load(folder / "vectors.npy").astype(np.float64))


def fewer(folder: Path) -> None:
    np.save(folder / "popularity.npy", np.zeros(13, dtype=np.float32))


def not_a_share(folder: Path) -> None:
    np.save(folder / "popularity.npy", np.full(14, np.nan, dtype=np.float32))


def objects(folder: Path) -> None:
    np.save(folder / "popularity.npy", np.array([{}] * 14), allow_pickle=True)


def swapped_indexes(folder: Path) -> None:
    shutil.copy(folder / "similar.faiss", folder / "index.faiss")


def other_tower(folder: Path) -> None:
    path = folder / "user_tower" / "deep_1_bias.npy"
    np.save(path, np.load(path) + np.float32(0.01))


def tower_of_fewer_items(folder: Path) -> None:
    for name in ("likes", "alone", "others", "recent", "transitions"):
        path = folder / "user_tower" / f"{name}.npy"
        np.save(path, np.load(path)[:-1])


def head_of_fewer_items(folder: Path) -> None:
    path = folder / "rating_head" / "usual.npy"
    np.save(path, np.load(path)[:-1])


def one_more_genre(folder: Path) -> None:
    path = folder / "catalogue.json"
    values = json.loads(path.read_text())
    values["genre_names"].append("Western")
    path.write_text(json.dumps(values))


def other_answer(folder: Path) -> None:
    path = folder / "golden.json"
    values = json.loads(path.read_text())
    ids = values["taste"]["item_ids"][0]
    ids[0], ids[1] = ids[1], ids[0]
    path.write_text(json.dumps(values))


def no_queries(folder: Path) -> None:
    empty: dict[str, list[Any]] = {"queries": [], "item_ids": [], "scores": []}
    (folder / "golden.json").write_text(json.dumps(empty))


def deep_json(folder: Path) -> None:
    (folder / "reference.json").write_text("[" * 100_000)


def list_json(folder: Path) -> None:
    (folder / "reference.json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (scaled, "vectors.npy must hold vectors of length 1, got 1.0010 to 1.0010"),
        (other_vectors, "index.faiss must hold the vectors of vectors.npy, got others"),
        (doubles, r"vectors.npy must be float32 \(14, 6\), got float64 \(14, 6\)"),
        (fewer, r"popularity.npy must be float32 \(14,\), got float32 \(13,\)"),
        (not_a_share, "popularity must be shares of 0 to 1, got nan to nan"),
        (objects, "a generation must be readable, got ValueError"),
        (swapped_indexes, "index.faiss must hold the vectors of vectors.npy, got others"),
        (other_tower, "golden queries must get the scores they got at first, to 1e-05, got"),
        (
            tower_of_fewer_items,
            "the user tower must take the catalogue's 14 items and 3 genres, got IndexErr",
        ),
        (head_of_fewer_items, "a rating head must fit the items' directions, got ValueError"),
        (one_more_genre, "the user tower must take the catalogue's 14 items and 4 genres, got ValueError"),
        (other_answer, "golden queries must get the scores they got at first"),
        (no_queries, "golden.json must hold at least one query, got none"),
        (deep_json, "reference.json must be readable JSON"),
        (list_json, "reference.json must hold a JSON object, got list"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_parts_that_do_not_fit_are_refused_though_the_hashes_agree(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    sign(folder)
    with pytest.raises(GenerationError, match=message):
        load(folder)
