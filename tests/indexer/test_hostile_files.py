import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hypothesis import given, strategies as st

from deepmoviematch.indexer import manifest
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.generation import load
from tests.indexer.signing import sign

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


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
