"""The training loop of a phase: epochs, progress, checkpoints, early stopping.

A phase that was interrupted goes on from its last whole epoch and ends with the
same bits as one that was not: all randomness of an epoch is drawn from the seed
and the epoch's number.
"""

import io
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from threadpoolctl import threadpool_limits

from deepmoviematch.trainer.errors import TrainingError

Row: TypeAlias = dict[str, float]
"""Figures of an epoch by name."""


class Optimizer(Protocol):
    """What moves weights: Keras's optimizers, or `adam.Adam`."""

    @property
    def variables(self) -> Sequence[Any]:
        """Its state, for checkpoints."""

    def build(self, variables: Sequence[keras.Variable], /) -> None:
        """Make the state for what is to be moved."""

    def apply(self, gradients: Sequence[tf.Tensor], variables: Sequence[keras.Variable], /) -> None:
        """Make a step."""


class Task(Protocol):
    """What is trained: models, data in batches, and a loss."""

    @property
    def models(self) -> Sequence[keras.Model]:
        """Whose dropout is seeded."""

    @property
    def trainable(self) -> Sequence[keras.Variable]:
        """What the optimizer moves."""

    @property
    def optimizer(self) -> Optimizer:
        """What moves it."""

    def batches(self, epoch: int) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        """The arguments of `loss` for each step of an epoch, drawn from the seed and `epoch` alone.

        Between steps nothing but the length of an argument may change.
        """

    def loss(self, *batch: tf.Tensor) -> tf.Tensor:
        """The scalar to make small, as a graph."""


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of a run is kept after each epoch, in a file for each of its phases."""

    folder: Path

    fingerprint: str
    """Names recipe and data; a state of another is refused."""

    resume: bool
    """Whether to go on from the states in `folder`, if there are any."""

    def __post_init__(self) -> None:
        """Refuse to go on in a folder with a state, of whatever phase, that is of another recipe or data.

        Raises:
            TrainingError: If there is one, or one that is damaged.
        """
        if not self.resume:
            return
        for path in sorted(self.folder.glob("*.npz")):
            with _saved(path) as saved:
                fingerprint = json.loads(str(saved["about"]))["fingerprint"]
            if fingerprint != self.fingerprint:
                raise TrainingError(f"{path}: is of another recipe or other data; start without --resume")

    def path(self, phase: str) -> Path:
        """The file of a phase."""
        return self.folder / f"{phase}.npz"


NOISE = 0.4
"""Standard errors of a figure by which the highest epoch of many may lie above another by chance.

Few, for all ask the same users. With .25 a fit of ml-100k stopped at half its epochs, where all of them rank
.6 % better, and 1.8 % after three likes.
"""


@dataclass(frozen=True)
class Stopping:
    """When a phase ends before its last epoch; it keeps the weights of its best one.

    Which epoch has the highest figure is chance: the learning rate falls until the last one, so that
    towers are better for the whole way than the figures of a few users tell. So the latest epoch is
    best that is not clearly worse than another, and only towers that get clearly worse end early.
    """

    metric: str
    """Which figure decides; more is better."""

    error: str
    """The figure that is its standard error."""

    patience: int
    """Epochs that are clearly worse before the phase may end."""

    def best(self, rows: Sequence[Row]) -> int:
        """Place of the latest epoch that comes within `NOISE` of the highest figure."""
        highest = max(row[self.metric] for row in rows)
        return max(
            place for place, row in enumerate(rows) if row[self.metric] + NOISE * row[self.error] >= highest
        )

    def is_due(self, rows: Sequence[Row]) -> bool:
        """Whether the best is `patience` epochs old, and the figure is not on its way back up.

        Towers that start well get worse when training begins, and better than ever as the
        learning rate falls. So training goes on while the later half of the epochs since
        the best is better on average than the earlier one.
        """
        since = [row[self.metric] for row in rows[self.best(rows) + 1 :]]
        half = (len(since) + 1) // 2
        return len(since) >= self.patience and sum(since[-half:]) <= sum(since[:half])


def make_deterministic(seed: int) -> None:
    """Seed every generator and make TensorFlow's kernels give the same bits each time."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def train(
    task: Task,
    phase: str,
    *,
    epochs: int,
    seed: int,
    measure: Callable[[], Row] = dict,
    stopping: Stopping | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[Row]:
    """Run the epochs that are left and return one row of figures for every epoch.

    Args:
        task: What to train; its variables are changed in place.
        phase: Names this training to people, and its checkpoint.
        epochs: Epochs at most.
        seed: Seeds the dropout of each epoch together with its number.
        measure: What else to report after each epoch, by name.
        stopping: When to end early; with it, the weights end as the best epoch left
            them. Without it, every epoch is run and the last one counts.
        checkpoint: Where to keep the state after each epoch, if it is to be kept.

    Returns:
        For each epoch `epoch` (from 1), `loss` (mean over steps), what `measure`
        reports, and `seconds`.

    Raises:
        TrainingError: If loss or weights are no longer finite, or the checkpoint is not of this run.
    """
    task.optimizer.build(task.trainable)
    rows: list[Row] = []
    best = _weights(task)
    if checkpoint is not None and checkpoint.resume and checkpoint.path(phase).exists():
        rows, best = _restore(task, checkpoint.path(phase))

    step: Callable[..., tf.Tensor] | None = None
    # What makes batches shares the cores with the steps: threads of its own would only be in their way.
    with _Bar(phase, epochs, done=len(rows)) as bar, threadpool_limits(1, user_api="blas"):
        while len(rows) < epochs and not (stopping and rows and stopping.is_due(rows)):
            epoch = len(rows)
            started = time.perf_counter()
            _seed_dropout(task.models, seed, epoch)
            losses = []
            for number, batch in enumerate(_ahead(task.batches(epoch)), start=1):
                step = step or _step(task, batch)
                losses.append(float(step(*map(tf.convert_to_tensor, batch))))
                if not np.isfinite(losses[-1]):
                    raise TrainingError(
                        f"the loss must stay finite, got {losses[-1]} in epoch {epoch + 1}, step {number}; "
                        "try a lower learning_rate"
                    )
            _refuse_broken(task, epoch)
            figures = {"epoch": epoch + 1, "loss": float(np.mean(losses))} | measure()
            rows.append(figures | {"seconds": round(time.perf_counter() - started, 3)})
            if stopping is None or stopping.best(rows) == epoch:
                best = _weights(task)
            if checkpoint is not None:
                _save(task, checkpoint.path(phase), checkpoint.fingerprint, rows, best)
            bar.advance(rows[-1])
        if stopping:
            kept = rows[stopping.best(rows)]
            bar.say(f"kept epoch {kept['epoch']}: {stopping.metric} {kept[stopping.metric]:.4f}")
    for variable, value in zip(task.trainable, best, strict=True):
        variable.assign(value)
    return rows


def _ahead(batches: Iterator[tuple[npt.NDArray[Any], ...]]) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """The same batches, each made while the one before is learnt from."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = maker.submit(next, batches, None)
            yield batch


def _step(task: Task, example: Sequence[npt.NDArray[Any]]) -> Callable[..., tf.Tensor]:
    """One update as a graph, for batches like `example` of whatever length."""
    signature = [tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in example]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def step(*batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = task.loss(*batch)
        gradients = tape.gradient(loss, [variable.value for variable in task.trainable])
        task.optimizer.apply(gradients, task.trainable)
        return loss

    made: Callable[..., tf.Tensor] = step
    return made


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


def _weights(task: Task) -> list[npt.NDArray[Any]]:
    return [np.array(variable) for variable in task.trainable]


def _state(task: Task) -> list[Any]:
    return [*task.trainable, *task.optimizer.variables]


def _save(
    task: Task, path: Path, fingerprint: str, rows: list[Row], best: Sequence[npt.NDArray[Any]]
) -> None:
    about = {"fingerprint": fingerprint, "rows": rows}
    state: dict[str, Any] = {f"v{i}": np.asarray(variable) for i, variable in enumerate(_state(task))}
    state |= {f"b{i}": value for i, value in enumerate(best)}
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(json.dumps(about)), **state)
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(buffer.getvalue())
    os.replace(part, path)


def _restore(task: Task, path: Path) -> tuple[list[Row], list[npt.NDArray[Any]]]:
    """Put the task back to the state in a file; returns the rows and the best weights so far."""
    with _saved(path) as saved:
        rows: list[Row] = json.loads(str(saved["about"]))["rows"]
        state = [saved[f"v{i}"] for i in range(len(_state(task)))]
        best = [saved[f"b{i}"] for i in range(len(task.trainable))]
    for variable, value in zip(_state(task), state, strict=True):
        variable.assign(value)
    return rows, best


@contextmanager
def _saved(path: Path) -> Iterator[Any]:
    """The arrays of a state by name; a `TrainingError` where one cannot be read."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as saved:
            yield saved
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"{path}: a checkpoint must be whole, got {error}; start without --resume"
        ) from error


BAR_FIGURES = ("loss", "validation_ndcg@100")
"""What a progress bar shows of an epoch."""


class _Bar:
    """A progress bar on a terminal, and a line for every tenth of the way elsewhere."""

    def __init__(self, phase: str, epochs: int, *, done: int) -> None:
        self._console = Console(stderr=True)
        self._phase, self._epochs, self._done = phase, epochs, done
        self._progress = Progress(
            TextColumn(f"{phase:<8}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True, ratio=1)),  # is cut first
            console=self._console,
            expand=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("epochs", total=epochs, completed=done, figures="")

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, sentence: str) -> None:
        self._console.print(f"{self._phase:<8} {sentence}", highlight=False, soft_wrap=True)

    def advance(self, row: Row) -> None:
        shown = [name for name in row if name not in {"epoch", "seconds"}]
        if self._console.is_terminal:  # all of them would push the bar off its line
            shown = [name for name in shown if name in BAR_FIGURES]
        figures = "  ".join(f"{name} {row[name]:.4f}" for name in shown)
        self._progress.update(self._task, advance=1, figures=figures)
        before, self._done = self._done, self._done + 1
        if not self._console.is_terminal and self._done * 10 // self._epochs > before * 10 // self._epochs:
            self.say(f"epoch {self._done}/{self._epochs}  {figures}")
