"""Adam by TensorFlow's fused kernel: Keras's own takes a dozen operations a variable, a quarter of a step.

The step size falls along half a cosine, from the first step to the last. Adam moves every number about as
far, however little its gradient says. What starts well may decay towards its start (Li et al., 2018), apart
from the gradient (Loshchilov and Hutter, 2019): then only what is said again and again leads it away.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

BETAS = (0.9, 0.999)
EPSILON = 1e-7

LARGE = 20_000
"""Rows of a table of which each step moves only those that it meets: the rest would take most of its time."""

FAST = 4.0
"""How much faster those learn that start from nothing, beside others that start well."""


class Adam:
    """Adam with decoupled decay towards the start.

    Step for step what `keras.optimizers.AdamW` does with a `CosineDecay` to what starts at 0, but for
    rounding.
    """

    def __init__(
        self,
        learning_rate: float,
        steps: int,
        *,
        decay: float = 0.0,
        decaying: Sequence[keras.Variable] = (),
        fast: Sequence[keras.Variable] = (),
    ) -> None:
        """Settle the schedule.

        Args:
            learning_rate: Step size of the first step.
            steps: After so many it is 0.
            decay: Share of its way so far, times the step size, by which each step takes a weight back.
            decaying: Variables that decay.
            fast: Variables that step `FAST` times as far.
        """
        self._learning_rate, self._steps, self._decay = learning_rate, steps, decay
        self._decaying, self._fast = ({id(variable) for variable in chosen} for chosen in (decaying, fast))
        self._starts: list[tf.Tensor | None] = []
        self.variables: list[tf.Variable] = []
        """What a checkpoint keeps: the number of steps made, and two moments of each gradient."""

    def build(self, trainable: Sequence[keras.Variable]) -> None:
        """Start the moments of `trainable` with 0, and take what they are for their start."""
        zeros = (np.zeros(variable.shape, np.float32) for variable in trainable for _ in BETAS)
        self.variables = [tf.Variable(0.0), *map(tf.Variable, zeros)]
        self._starts = [
            tf.constant(variable.numpy()) if self._decay and id(variable) in self._decaying else None
            for variable in trainable
        ]

    def apply(self, gradients: Sequence[tf.Tensor], trainable: Sequence[keras.Variable]) -> None:
        """Make a step."""
        made, *moments = self.variables
        done = tf.minimum(made / self._steps, 1.0)
        falling = self._learning_rate * 0.5 * (1 + tf.cos(np.float32(np.pi) * done))
        powers = [tf.pow(beta, made + 1) for beta in BETAS]
        for place, (variable, gradient) in enumerate(zip(trainable, gradients, strict=True)):
            rate = FAST * falling if id(variable) in self._fast else falling
            start, decay = self._starts[place], rate * self._decay
            mean, square = moments[2 * place : 2 * place + 2]
            if isinstance(gradient, tf.IndexedSlices) and variable.shape[0] > LARGE:
                unbiased = rate * tf.sqrt(1 - powers[1]) / (1 - powers[0])
                _step_rows(variable.value, (mean, square), gradient, start, rate=unbiased, decay=decay)
                continue
            if start is not None:
                variable.value.assign_sub(decay * (variable.value - start))
            tf.raw_ops.ResourceApplyAdam(
                var=variable.value.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                epsilon=EPSILON,
                # Rows of a sparse gradient may repeat, and Adam would square each by itself.
                grad=tf.convert_to_tensor(gradient),
            )
        made.assign_add(1.0)


def _step_rows(
    table: tf.Variable,
    moments: tuple[tf.Variable, tf.Variable],
    gradient: tf.IndexedSlices,
    start: tf.Tensor | None,
    *,
    rate: tf.Tensor,
    decay: tf.Tensor,
) -> None:
    """Step with the rows of a table that have a gradient; the others and their moments stand still."""
    rows, places = tf.unique(gradient.indices)
    found = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))
    changed = []
    for beta, moment, value in zip(BETAS, moments, (found, tf.square(found)), strict=True):
        changed.append(beta * tf.gather(moment, rows) + (1 - beta) * value)
        moment.scatter_update(tf.IndexedSlices(changed[-1], rows))
    mean, square = changed
    step = rate * mean / (tf.sqrt(square) + EPSILON)
    if start is not None:
        step += decay * (tf.gather(table, rows) - tf.gather(start, rows))
    table.scatter_sub(tf.IndexedSlices(step, rows))
