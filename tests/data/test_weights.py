import json
from pathlib import Path

import numpy as np
import pytest

from deepmoviematch.data.errors import DataError
from deepmoviematch.data.weights import SETTINGS, Weights

SETTINGS_OF_A_TOWER = {"kind": "genres", "dim": 2, "names": ["Drama", "Été"]}


def weights() -> Weights:
    return Weights(
        settings=dict(SETTINGS_OF_A_TOWER),
        arrays={"mean": np.arange(3, dtype=np.float32), "kernel": np.eye(2, 3, dtype=np.float32)},
    )


def test_weights_come_back_as_saved(tmp_path: Path) -> None:
    weights().save(tmp_path / "new" / "tower")
    back = Weights.load(tmp_path / "new" / "tower")
    assert back.settings == SETTINGS_OF_A_TOWER
    assert back.arrays.keys() == {"mean", "kernel"}
    for name, array in weights().arrays.items():
        assert np.array_equal(back.arrays[name], array)
        assert back.arrays[name].dtype == np.float32


def test_arrays_without_columns_come_back_too(tmp_path: Path) -> None:
    Weights({"kind": "genres"}, {"genres": np.zeros((3, 0), dtype=np.float32)}).save(tmp_path)
    assert Weights.load(tmp_path).arrays["genres"].shape == (3, 0)


def test_equal_weights_give_equal_bytes() -> None:
    other = Weights(
        settings=dict(reversed(SETTINGS_OF_A_TOWER.items())),
        arrays={name: np.asfortranarray(array) for name, array in reversed(weights().arrays.items())},
    )
    assert other.to_files() == weights().to_files()


def test_files_are_npy_and_json() -> None:
    files = weights().to_files()
    assert sorted(files) == ["kernel.npy", "mean.npy", SETTINGS]
    assert json.loads(files[SETTINGS]) == SETTINGS_OF_A_TOWER
    assert files["mean.npy"].startswith(b"\x93NUMPY")


def damage(folder: Path, kind: str) -> None:
    mean = folder / "mean.npy"
    match kind:
        case "no settings":
            (folder / SETTINGS).unlink()
        case "settings cut short":
            (folder / SETTINGS).write_text('{"kind": ')
        case "settings not an object":
            (folder / SETTINGS).write_text("[]")
        case "no kind":
            (folder / SETTINGS).write_text("{}")
        case "settings not UTF-8":
            (folder / SETTINGS).write_bytes(b'{"kind": "\xff"}')
        case "array cut short":
            mean.write_bytes(mean.read_bytes()[:-4])
        case "array empty":
            mean.write_bytes(b"")
        case "array of another type":
            np.save(mean, np.arange(3))
        case "NaN":
            np.save(mean, np.array([1, np.nan], dtype=np.float32))
        case "pickled code":
            np.save(mean, np.array([Path(".")], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "kind",
    [
        "no settings",
        "settings cut short",
        "settings not an object",
        "no kind",
        "settings not UTF-8",
        "array cut short",
        "array empty",
        "array of another type",
        "NaN",
        "pickled code",
    ],
)
def test_damaged_weights_are_refused(tmp_path: Path, kind: str) -> None:
    weights().save(tmp_path)
    damage(tmp_path, kind)
    with pytest.raises(DataError):
        Weights.load(tmp_path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("array of another type", "mean.npy: weights must be float32, got int64"),
        ("NaN", "mean.npy: weights must be finite, got NaN or infinity"),
    ],
)
def test_weights_that_are_no_numbers_of_the_kind_say_which_rule_they_break(
    tmp_path: Path, kind: str, message: str
) -> None:
    weights().save(tmp_path)
    damage(tmp_path, kind)
    with pytest.raises(DataError, match=message):
        Weights.load(tmp_path)
