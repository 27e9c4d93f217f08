import json
from pathlib import Path

import pytest

from deepmoviematch.indexer import manifest
from deepmoviematch.indexer.errors import GenerationError


def test_an_id_has_its_number_and_the_fingerprint() -> None:
    name = manifest.generation_id(12, {"a": 1})
    assert name == "g000012-" + name[-8:]
    assert manifest.sequence_of(name) == 12
    assert manifest.check_id({"a": 1, "id": name}) == name


def test_numbers_go_on_after_six_digits() -> None:
    assert manifest.sequence_of(manifest.generation_id(1_000_000, {})) == 1_000_000


def test_the_fingerprint_is_of_the_values_whatever_their_order_and_layout(tmp_path: Path) -> None:
    values = {"metrics": {"b": 0.1, "a": [1e-9, "ä"]}, "files": {}, "format": 1, "kind": "run"}
    (tmp_path / "manifest.json").write_text(json.dumps(values, indent=8))
    again = manifest.read(tmp_path, "run")
    assert manifest.generation_id(1, again) == manifest.generation_id(1, values)
    assert manifest.generation_id(1, again) != manifest.generation_id(1, {**values, "kind": "x"})


@pytest.mark.parametrize(
    "name", [None, 7, "", "g000001", "g000001-0000000g", "../g000001-00000000", "g1-00000000"]
)
def test_an_id_of_another_form_is_refused(name: object) -> None:
    with pytest.raises(GenerationError, match="must have an id that ends in"):
        manifest.check_id({"id": name})


@pytest.mark.parametrize(
    "name", ["", "x", "g000001-0000000", "g000001-00000000\n", "g00000١-00000000", "..", "g-"]
)
def test_what_is_no_id_has_no_number(name: str) -> None:
    assert manifest.sequence_of(name) is None


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/../b", "/a", "a//b", "a/", "./a", ".hidden", "a\\b", "a\0", "a\n"]
)
def test_a_file_outside_or_hidden_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(GenerationError, match="must name files below its folder"):
        manifest.check_file(tmp_path, name, "")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(GenerationError, match="a must be a plain file"):
        manifest.check_file(tmp_path, "a", "")


def test_a_file_beyond_every_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(GenerationError, match="a must be at most 17179869184 bytes, got 68719476736"):
        manifest.check_file(tmp_path, "a", "", 1 << 36)


@pytest.mark.parametrize("contents", [b"", b"{", b"\xff", b"[]", b"1", b"[" * 99_999], ids=range(6))
def test_what_is_no_json_object_is_refused(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "a.json").write_bytes(contents)
    with pytest.raises(GenerationError, match=r"a\.json must (be readable JSON|hold a JSON object)"):
        manifest.read_json(tmp_path / "a.json")
