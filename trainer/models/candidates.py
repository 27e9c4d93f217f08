"""Which items a step's softmax runs over: all of them, or some that are drawn.

Of a large catalogue each step takes the items that it asks for and draws others by how
often they are liked. An item that is in the step with a chance of pi counts 1 / pi
times, that is, its logit is corrected by -log pi (logQ; Bengio and Senecal, 2008): so the
sum under the softmax is right on average (Horvitz and Thompson, 1952), and it is the
full one where every chance is 1. The correction is in the loss only. Symbols: `N` items,
`C` of a step.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from deepmoviematch.data.arrays import Doubles, Flags, Floats, Ints, Longs

Whole: TypeAlias = npt.NDArray[np.integer]
"""Rows of the catalogue."""


SMOOTHING = 1.0
"""Added to the likes of every rated item, so that each has a chance."""


class Candidates:
    """Draws the items of each step."""

    def __init__(self, likes: Longs, rated: Flags, drawn: int) -> None:
        """Settle every item's chance.

        Args:
            likes: [N] how often each item is liked in the training split.
            rated: [N] whether anyone rated it; what nobody rated is in no step.
            drawn: Items that a step draws, about; all if there are no more.
        """
        self.chances = inclusion(np.where(rated, likes + SMOOTHING, 0.0), drawn)
        """[N] of being drawn."""

    def draw(self, asked: Whole, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """[C] rows of the catalogue, ascending, and [C] what to add to their logits.

        Args:
            asked: Rows that must be there, each rated.
            rng: Source of chance.
        """
        chances = self.chances.copy()
        chances[asked] = 1
        rows = np.flatnonzero(chances == 1)
        open_rows = np.flatnonzero((chances > 0) & (chances < 1))
        if len(open_rows):
            rows = np.sort(np.concatenate([rows, open_rows[systematic(chances[open_rows], rng.random())]]))
        return rows.astype(np.int32), -np.log(chances[rows]).astype(np.float32)


def inclusion(weights: Doubles, size: int) -> Doubles:
    """[N] chances in proportion to `weights` [N] that add up to `size`, but none above 1.

    All that weigh anything are certain where there are no more than `size`.
    """
    chances = (weights > 0).astype(np.float64)
    open_rows = np.flatnonzero(weights > 0)
    if len(open_rows) <= size:
        return chances
    left = size
    while True:
        shares = weights[open_rows] * left / weights[open_rows].sum()
        chances[open_rows] = np.minimum(shares, 1)
        if not (shares >= 1).any():
            return chances
        left -= int((shares >= 1).sum())
        open_rows = open_rows[shares < 1]


def systematic(chances: Doubles, offset: float) -> Flags:
    """[N] which are drawn when each has its own of `chances` [N], all below 1 (Madow, 1949).

    Chances are laid end to end, and those are drawn on which `offset`, `offset` + 1, ... falls.

    Args:
        chances: [N]
        offset: Uniform in 0..1.
    """
    ends = np.floor(np.concatenate([[0.0], np.cumsum(chances)]) - offset)
    drawn: Flags = np.diff(ends) > 0
    return drawn


def columns_of(rows: Whole, candidates: Ints) -> tuple[Flags, Longs]:
    """Which of `rows` are among the `candidates`, ascending, and the columns of those that are."""
    places = np.minimum(np.searchsorted(candidates, rows), len(candidates) - 1)
    there = candidates[places] == rows
    return there, places[there]
