"""The training loop: epochs, progress, checkpoints, and a stop when numbers fail.

A run that was interrupted goes on from its last whole epoch and ends with the
same bits as one that was not: all randomness of an epoch is drawn from the seed
and the epoch's number.
"""

import io
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .errors import TrainingError


class Task(Protocol):
    """What is trained: models, data in batches, and a loss."""

    @property
    def models(self) -> Sequence[keras.Model]:
        """Whose dropout is seeded."""

    @property
    def trainable(self) -> Sequence[keras.Variable]:
        """What the optimizer moves."""

    @property
    def optimizer(self) -> keras.optimizers.Optimizer:
        """What moves it."""

    def batches(self, epoch: int) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        """The arguments of `loss` for each step of an epoch, drawn from the seed and `epoch` alone."""

    def loss(self, *batch: tf.Tensor) -> tf.Tensor:
        """The scalar to make small, as a graph."""


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of a run is kept after each epoch."""

    path: Path

    fingerprint: str
    """Names recipe and data; a state of another is refused."""

    resume: bool
    """Whether to go on from the state in `path`, if there is one."""


def make_deterministic(seed: int) -> None:
    """Seed every generator and make TensorFlow's kernels give the same bits each time."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def train(
    task: Task,
    *,
    measure: Callable[[], dict[str, float]],
    epochs: int,
    seed: int,
    checkpoint: Checkpoint | None = None,
) -> list[dict[str, float]]:
    """Run the epochs that are left and return one row of figures for every epoch.

    Args:
        task: What to train; its variables are changed in place.
        measure: What else to report after each epoch, by name.
        epochs: Epochs in all.
        seed: Seeds the dropout of each epoch together with its number.
        checkpoint: Where to keep the state after each epoch, if it is to be kept.

    Returns:
        For each epoch `epoch` (from 1), `loss` (mean over steps), what `measure`
        reports, and `seconds`.

    Raises:
        TrainingError: If loss or weights are no longer finite, or the checkpoint is not of this run.
    """
    task.optimizer.build(task.trainable)
    rows: list[dict[str, float]] = []
    if checkpoint is not None and checkpoint.resume and checkpoint.path.exists():
        rows = _restore(task, checkpoint)

    @tf.function  # type: ignore[untyped-decorator]
    def step(*batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = task.loss(*batch)
        gradients = tape.gradient(loss, [variable.value for variable in task.trainable])
        task.optimizer.apply(gradients, task.trainable)
        return loss

    with _Bar(epochs, done=len(rows)) as bar:
        for epoch in range(len(rows), epochs):
            started = time.perf_counter()
            _seed_dropout(task.models, seed, epoch)
            losses = []
            for number, batch in enumerate(task.batches(epoch), start=1):
                losses.append(float(step(*map(tf.convert_to_tensor, batch))))
                if not np.isfinite(losses[-1]):
                    raise TrainingError(
                        f"the loss must stay finite, got {losses[-1]} in epoch {epoch + 1}, step {number}; "
                        "try a lower learning_rate"
                    )
            _refuse_broken(task, epoch)
            figures = {"epoch": epoch + 1, "loss": float(np.mean(losses))} | measure()
            rows.append(figures | {"seconds": round(time.perf_counter() - started, 3)})
            if checkpoint is not None:
                _save(task, checkpoint, rows)
            bar.advance(rows[-1])
    return rows


def _refuse_broken(task: Task, epoch: int) -> None:
    """The last update of an epoch can break weights after its loss was still a number."""
    for variable in task.trainable:
        if not np.isfinite(np.asarray(variable)).all():
            raise TrainingError(
                f"weights must stay finite, got NaN or infinity in {variable.path} after epoch {epoch + 1}; "
                "try a lower learning_rate"
            )


def _seed_dropout(models: Sequence[keras.Model], seed: int, epoch: int) -> None:
    """Give every dropout layer a state of its own for this epoch."""
    layers = [layer for model in models for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    for number, layer in enumerate(layers):
        state = np.random.SeedSequence([seed, epoch, number]).generate_state(2)
        layer.seed_generator.state.assign(state)


def _state(task: Task) -> list[keras.Variable]:
    return [*task.trainable, *task.optimizer.variables]


def _save(task: Task, checkpoint: Checkpoint, rows: list[dict[str, float]]) -> None:
    about = {"fingerprint": checkpoint.fingerprint, "rows": rows}
    state: dict[str, Any] = {f"v{i}": np.asarray(variable) for i, variable in enumerate(_state(task))}
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(json.dumps(about)), **state)
    part = checkpoint.path.with_suffix(".part")
    part.write_bytes(buffer.getvalue())
    os.replace(part, checkpoint.path)


def _restore(task: Task, checkpoint: Checkpoint) -> list[dict[str, float]]:
    try:
        with np.load(io.BytesIO(checkpoint.path.read_bytes()), allow_pickle=False) as saved:
            about = json.loads(str(saved["about"]))
            state = [saved[f"v{i}"] for i in range(len(_state(task)))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"{checkpoint.path}: a checkpoint must be whole, got {error}; start without --resume"
        ) from error
    if about["fingerprint"] != checkpoint.fingerprint:
        raise TrainingError(f"{checkpoint.path}: is of another recipe or other data; start without --resume")
    for variable, value in zip(_state(task), state, strict=True):
        variable.assign(value)
    rows: list[dict[str, float]] = about["rows"]
    return rows


class _Bar:
    """A progress bar on a terminal, and a line for every tenth of the way elsewhere."""

    def __init__(self, epochs: int, *, done: int) -> None:
        self._console = Console(stderr=True)
        self._epochs, self._done = epochs, done
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("epochs", total=epochs, completed=done, figures="")

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, row: dict[str, float]) -> None:
        shown = (name for name in row if name not in {"epoch", "seconds"})
        figures = "  ".join(f"{name} {row[name]:.4f}" for name in shown)
        self._progress.update(self._task, advance=1, figures=figures)
        before, self._done = self._done, self._done + 1
        if not self._console.is_terminal and self._done * 10 // self._epochs > before * 10 // self._epochs:
            line = f"epoch {self._done}/{self._epochs}  {figures}"
            self._console.print(line, highlight=False, soft_wrap=True)
