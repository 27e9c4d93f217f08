import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.text import Text

from deepmoviematch.data.arrays import Floats
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.models.loop import Checkpoint, Stopping, make_deterministic, train


class Line:
    """Learns y = 2 x with a dropout layer in the way."""

    def __init__(self, *, break_in_epoch: int | None = None) -> None:
        make_deterministic(3)
        self.models = [
            keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
        ]
        self.trainable = self.models[0].trainable_variables
        self.optimizer = keras.optimizers.Adam(0.05)
        self._break_in_epoch = break_in_epoch

    def batches(self, epoch: int) -> Iterator[tuple[Floats, Floats]]:
        rng = np.random.default_rng([1, epoch])
        for _ in range(5):
            inputs = rng.normal(size=(8, 4)).astype(np.float32)
            targets = 2 * inputs.sum(axis=1, keepdims=True)
            yield inputs, targets * (np.nan if epoch == self._break_in_epoch else 1)

    def loss(self, *batch: tf.Tensor) -> tf.Tensor:
        inputs, targets = batch
        return tf.reduce_mean(tf.square(self.models[0](inputs, training=True) - targets))

    def weights(self) -> list[list[float]]:
        return [variable.numpy().ravel().tolist() for variable in self.trainable]


def run(
    task: Line,
    epochs: int,
    folder: Path | None = None,
    *,
    resume: bool = False,
    fingerprint: str = "a",
    values: Sequence[float] = (),
    patience: int = 0,
) -> list[dict[str, float]]:
    """Train for `epochs`, after each of which the next of `values` is measured."""
    seen: list[float] = []

    def measure() -> dict[str, float]:
        seen.append(1.0)
        return {"x": values[len(seen) - 1] if values else 1.0, "error": 0.1}

    return train(
        task,
        "fit",
        measure=measure,
        epochs=epochs,
        seed=3,
        stopping=Stopping("x", "error", patience) if patience else None,
        checkpoint=None if folder is None else Checkpoint(folder, fingerprint, resume),
    )


def without_time(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_every_epoch_leaves_a_row_and_the_loss_falls() -> None:
    rows = run(Line(), 30)
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert set(rows[0]) == {"epoch", "loss", "x", "error", "seconds"}
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]


def test_a_narrow_terminal_cuts_figures_before_phase_count_and_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    run(Line(), 12)
    last = [line for line in Text.from_ansi(capsys.readouterr().err).plain.splitlines() if line.strip()][-1]
    assert re.fullmatch(r"fit +━+ +12/12 +left 0:00:00 +loss \S+ *", last)


def test_the_same_seed_gives_the_same_bits() -> None:
    first, second = Line(), Line()
    assert without_time(run(first, 4)) == without_time(run(second, 4))
    assert first.weights() == second.weights()


def test_a_run_that_was_broken_off_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    whole, broken, resumed = Line(), Line(break_in_epoch=3), Line()
    rows = run(whole, 6)
    with pytest.raises(TrainingError):
        run(broken, 6, tmp_path)
    assert without_time(run(resumed, 6, tmp_path, resume=True)) == without_time(rows)
    assert resumed.weights() == whole.weights()


def test_a_loss_that_is_no_number_stops_training_and_says_where() -> None:
    with pytest.raises(TrainingError, match="must stay finite, got nan in epoch 2, step 1; try a lower"):
        run(Line(break_in_epoch=1), 6)


def test_what_goes_wrong_in_making_a_batch_stops_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[tuple[Floats, Floats]]:
        yield np.zeros((1, 4), np.float32), np.zeros((1, 1), np.float32)
        raise OSError("no more")

    monkeypatch.setattr(Line, "batches", broken)
    with pytest.raises(OSError, match="no more"):
        run(Line(), 2)


def test_without_resume_a_checkpoint_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "fit.npz").write_bytes(b"nonsense")
    assert len(run(Line(), 2, tmp_path)) == 2


@pytest.mark.parametrize("keep", [0, 100, -10], ids=["empty", "first bytes", "all but the last bytes"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, keep: int) -> None:
    run(Line(), 1, tmp_path)
    state = (tmp_path / "fit.npz").read_bytes()
    (tmp_path / "fit.npz").write_bytes(state[:keep])
    with pytest.raises(TrainingError, match="must be whole"):
        run(Line(), 2, tmp_path, resume=True)


def test_a_checkpoint_of_another_recipe_or_other_data_is_refused(tmp_path: Path) -> None:
    run(Line(), 1, tmp_path)
    with pytest.raises(TrainingError, match="another recipe or other data; start without --resume"):
        run(Line(), 2, tmp_path, resume=True, fingerprint="b")


def test_a_checkpoint_of_other_data_is_refused_in_a_phase_that_it_had_not_come_to(tmp_path: Path) -> None:
    run(Line(), 1, tmp_path)
    (tmp_path / "fit.npz").rename(tmp_path / "measure.npz")
    with pytest.raises(TrainingError, match=r"measure\.npz: is of another recipe or other data"):
        run(Line(), 2, tmp_path, resume=True, fingerprint="b")
    assert not (tmp_path / "fit.npz").exists()


def test_weights_that_break_in_the_last_update_of_an_epoch_stop_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss that led to the update was still a number: the square root of 0, whose slope is infinite."""
    weights = (task := Line()).trainable
    monkeypatch.setattr(Line, "batches", lambda *_: iter([(np.zeros((1, 4), np.float32),) * 2]))
    monkeypatch.setattr(Line, "loss", lambda *_: sum(tf.reduce_sum(tf.sqrt(0 * w.value)) for w in weights))
    with pytest.raises(TrainingError, match=r"weights must stay finite, got NaN or infinity in .*kernel"):
        run(task, 2, tmp_path)
    assert not (tmp_path / "fit.npz").exists()


def test_a_phase_that_stops_early_ends_with_the_weights_of_its_best_epoch() -> None:
    stopped, short = Line(), Line()
    rows = run(stopped, 9, values=[1, 3, 2, 2], patience=2)
    run(short, 2)
    assert [row["x"] for row in rows] == [1, 3, 2, 2]
    assert stopped.weights() == short.weights()


def test_a_phase_that_was_broken_off_after_its_best_epoch_still_ends_with_its_weights(tmp_path: Path) -> None:
    whole, broken, resumed = Line(), Line(break_in_epoch=3), Line()
    values = [1.0, 3.0, 2.0, 2.0]
    rows = run(whole, 9, values=values, patience=2)
    with pytest.raises(TrainingError):
        run(broken, 9, tmp_path, values=values, patience=2)
    again = run(resumed, 9, tmp_path, resume=True, values=values[3:], patience=2)
    assert without_time(again) == without_time(rows)
    assert resumed.weights() == whole.weights()


def test_a_phase_that_had_ended_is_taken_up_as_it_was(tmp_path: Path) -> None:
    ended, again = Line(), Line()
    rows = run(ended, 9, tmp_path, values=[2.0, 1.0, 1.0], patience=1)
    assert run(again, 9, tmp_path, resume=True, values=[9.0], patience=1) == rows
    assert again.weights() == ended.weights()


@pytest.mark.parametrize(
    ("values", "is_due"),
    [
        ([1, 2, 3], False),
        ([3, 2, 2], True),
        ([3, 2], False),
        ([3, 1, 2], False),
        ([9, 1, 2, 3, 4, 5], False),
        ([9, 1, 2, 3, 4, 3, 1, 0], True),
        ([2, 2, 2], False),
        ([2, 1.97, 1.95, 1.95], True),
        ([2, 1.95, 1.95, 1.97], False),
    ],
    ids=[
        "new best",
        "falls",
        "has patience",
        "turns",
        "climbs back",
        "climbs no more",
        "flat",
        "clearly worse",
        "near again",
    ],
)
def test_training_goes_on_while_the_figure_climbs(values: list[float], is_due: bool) -> None:
    rows = [{"x": value, "error": 0.1} for value in values]
    assert Stopping("x", "error", 2).is_due(rows) is is_due


@pytest.mark.parametrize(
    ("values", "best"),
    [([1, 2, 3], 2), ([3, 2.97, 2.97, 2.95], 2), ([3, 2, 2], 0), ([1, 3, 2.97, 2], 2), ([2], 0)],
    ids=["the last is highest", "by chance", "clearly", "both", "only one"],
)
def test_the_latest_epoch_that_is_not_clearly_worse_is_best(values: list[float], best: int) -> None:
    """With a standard error of .1, .4 of it is .04."""
    assert Stopping("x", "error", 2).best([{"x": value, "error": 0.1} for value in values]) == best
