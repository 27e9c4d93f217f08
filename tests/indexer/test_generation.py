import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.data.features import UserBatch
from deepmoviematch.data.rating_head import RatingHead
from deepmoviematch.data.tables import RatingScale
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer import manifest
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.generation import load
from deepmoviematch.indexer.store import Store

GOLDEN = sorted((Path(__file__).parent / "golden").glob("v*"))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, parts: Any) -> Path:
    """A generation that no test may leave changed."""
    store = Store(tmp_path_factory.mktemp("whole") / "store")
    return store.folder / "generations" / store.publish(*parts).id


@pytest.fixture
def folder(tmp_path: Path, whole: Path) -> Path:
    """A generation to do damage to."""
    return Path(shutil.copytree(whole, tmp_path / whole.name))


def sign(folder: Path, change: Callable[[dict[str, Any]], object] = lambda values: None) -> None:
    """Make the manifest agree with the files as they are, as only a skilled hand would."""
    values = json.loads((folder / "manifest.json").read_text())
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    values["files"] = manifest.file_table(
        {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    )
    change(values)
    values["id"] = manifest.generation_id(1, values)
    (folder / "manifest.json").write_bytes(manifest.to_json(values))


def test_it_holds_what_was_published(folder: Path) -> None:
    generation = load(folder)
    assert generation.id == folder.name
    assert (len(generation.catalogue), generation.index.dim, generation.similar.dim) == (14, 6, 6)
    assert generation.scale == RatingScale(low=0.5, top=5.0)
    assert generation.directions.shape == (14, 6)
    assert (generation.similar.vectors() == generation.directions).all()
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
    assert [folder.name for folder in GOLDEN] == [f"v{version + 1}" for version in range(manifest.FORMAT)]


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
    for name in ("likes", "others", "recent", "transitions"):
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


@contextmanager
def restored(*paths: Path) -> Iterator[None]:
    """Give the files back the contents that they have now."""
    before = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, contents in before.items():
            path.write_bytes(contents)


@given(data=st.data())
def test_no_changed_byte_gets_through(whole: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(path for path in whole.rglob("*") if path.is_file())))
    expected = manifest.read_json(whole / "manifest.json")
    with restored(path):
        path.write_bytes(data.draw(damaged(path.read_bytes())))
        try:
            found = load(whole).manifest
        except GenerationError:
            return
        assert path.name == "manifest.json"  # such as another blank between two words
        assert found == expected


@given(data=st.data())
def test_no_hostile_file_raises_anything_else(whole: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(whole.rglob("*.*"))))
    with restored(path, whole / "manifest.json"):
        path.write_bytes(data.draw(damaged(path.read_bytes())))
        refuses_or_loads(whole, signed=path.name != "manifest.json")


@given(data=st.data())
def test_no_hostile_json_raises_anything_else(whole: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(whole.rglob("*.json"))))
    with restored(path, whole / "manifest.json"):
        values = graft(json.loads(path.read_text()), data)
        path.write_text(json.dumps(values))
        refuses_or_loads(whole, signed=path.name != "manifest.json" or values.keys() >= {"files"})


def refuses_or_loads(folder: Path, *, signed: bool) -> None:
    if signed:
        sign(folder)
    with suppress(GenerationError):
        load(folder)


@st.composite
def damaged(draw: st.DrawFn, contents: bytes) -> bytes:
    """`contents` cut, extended, or with some bytes changed; never as they were."""
    at = draw(st.integers(0, len(contents) - 1))
    if draw(st.booleans()):
        return contents[:at]
    changed = draw(st.binary(min_size=1, max_size=8).filter(lambda new: contents[at : at + len(new)] != new))
    return contents[:at] + changed + contents[at + len(changed) :]


def graft(values: Any, data: st.DataObject) -> Any:
    """`values`, an object, with something else somewhere."""
    values = copy.deepcopy(values)
    node, key = values, data.draw(st.sampled_from(sorted(values)))
    while isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
    node[key] = data.draw(JSON)
    return values
