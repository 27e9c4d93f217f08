"""How much each input of a user tower moved a score.

Integrated gradients (Sundararajan, Taly and Yan, 2017, equation 1): along the straight line
from the neutral user, of whom nothing is known, to one user, the gradient of the score is
integrated, and an input's part is its integral times how far the input moved. The parts add
up to the difference between the two scores; what the quadrature leaves open is known, and
is refined away. Symbols: `K` items, `D` width, `Z` inputs of a tower, `S` points on the line,
`I` intervals, `H` interactions, `P` stated preferences, `M` features of the moment.
"""

from typing import NamedTuple, Protocol

import numpy as np

from deepmoviematch.data.arrays import Floats

TOLERANCE = 5e-4
"""The parts are good enough when they miss no difference of scores by more."""

INTERVALS = 16
"""The line is first cut into so many."""

MOST_INTERVALS = 256
"""And not into many more: a gap that is left then is told, not hidden."""


class Path(Protocol):
    """The straight line in a tower's inputs from the neutral user to one user."""

    start: Floats
    """[Z] the neutral user."""

    end: Floats
    """[Z] the user."""

    def vectors(self, inputs: Floats) -> Floats:
        """Embed S points [S, Z]; returns [S, D] of length 1."""

    def gradients(self, inputs: Floats, items: Floats) -> Floats:
        """[S, K, Z] gradients of the inner products with `items` [K, D] at S points [S, Z]."""

    def shares(self, integrals: Floats) -> tuple[Floats, Floats, Floats]:
        """Split what inputs did among what caused them.

        Args:
            integrals: [K, Z] for each score the integrated gradient.

        Returns:
            [K, H] for each interaction of the history, [K, P] for each stated preference and [K, M]
            for each feature of the moment, in the order in which they were given, how much it
            moved each score.
        """


class Attribution(NamedTuple):
    """What moved K scores: `baseline` + all parts + `gap` is `score`."""

    score: Floats
    """[K] the user's."""

    baseline: Floats
    """[K] the neutral user's."""

    history: Floats
    """[K, H] part of each interaction."""

    preferences: Floats
    """[K, P] part of each stated preference."""

    moment: Floats
    """[K, M] part of each feature of the moment."""

    @property
    def parts(self) -> Floats:
        """[K, H + P + M] all of them, in this order."""
        return np.concatenate([self.history, self.preferences, self.moment], axis=1)

    @property
    def gap(self) -> Floats:
        """[K] what the quadrature left open."""
        gap: Floats = self.score - self.baseline - self.parts.sum(axis=1)
        return gap


def attribute(path: Path, items: Floats) -> Attribution:
    """Say what moved the scores of some items for one user.

    Args:
        path: From the neutral user to the one.
        items: [K, D] float32.

    Returns:
        Parts that miss the difference of the scores by at most `TOLERANCE`, but for paths so
        rugged that `MOST_INTERVALS` do not smooth them.
    """
    baseline, score = path.vectors(np.stack([path.start, path.end])) @ items.T
    return Attribution(score, baseline, *path.shares(_integrals(path, items)))


def _integrals(path: Path, items: Floats) -> Floats:
    """[K, Z] the gradient of each score, averaged over the line.

    Where the corners of a tower lie is not known, but what each interval misses is, for the
    scores at its ends are: those that miss much are halved.
    """
    edges = np.linspace(0, 1, INTERVALS + 1, dtype=np.float32)
    lefts, rights = edges[:-1], edges[1:]
    integrals, gaps = _integrated(path, items, lefts, rights)
    while np.abs(gaps.sum(axis=0)).max() > TOLERANCE and len(gaps) < MOST_INTERVALS:
        misses = np.abs(gaps).max(axis=1)
        worst = misses >= misses.mean()
        middles = (lefts[worst] + rights[worst]) / 2
        halves = np.concatenate([lefts[worst], middles]), np.concatenate([middles, rights[worst]])
        finer = (*halves, *_integrated(path, items, *halves))
        lefts, rights, integrals, gaps = (
            np.concatenate([old[~worst], new])
            for old, new in zip((lefts, rights, integrals, gaps), finer, strict=True)
        )
    total: Floats = integrals.sum(axis=0)
    return total


def _integrated(path: Path, items: Floats, lefts: Floats, rights: Floats) -> tuple[Floats, Floats]:
    """Over I intervals, by the midpoint rule: the gradients [I, K, Z], and what they miss [I, K]."""
    way = path.end - path.start
    lines = [path.start + points[:, None] * way for points in (lefts, rights, (lefts + rights) / 2)]
    moved = (path.vectors(lines[1]) - path.vectors(lines[0])) @ items.T
    integrals = path.gradients(lines[2], items) * (rights - lefts)[:, None, None]
    return integrals, moved - integrals @ way
