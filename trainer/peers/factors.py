"""Rating predictors with factors: mean + user bias + item bias + inner product of factors.

Given the items, the best user is a ridge regression, and the other way round. `penalised`
alternates between the two; `bayesian` draws from the distributions around them instead
(Gibbs sampling) and averages what the draws predict, so that it needs no penalty and knows
how little it knows of whoever rated little. Symbols: `R` rows, `U` users or items of one
side, `V` of the other, `K` factors, `C` = `K` + 1 coefficients, the bias first.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse
from threadpoolctl import threadpool_limits

from deepmoviematch.data.arrays import Doubles, Floats, Longs
from deepmoviematch.trainer.peers.baselines import Predictor, RatingRows, held_out_error

FACTORS = 16
SWEEPS = 12
BIAS_PENALTIES = (1.0, 2.0, 4.0, 8.0)
FACTOR_PENALTIES = (4.0, 8.0, 16.0, 32.0, 64.0)

BURN_IN = 20
DRAWS = 80
"""Gibbs draws that are thrown away, and that are averaged."""


def penalised(train: RatingRows, *, seed: int) -> Predictor:
    """The factors that fit best under an L2 penalty, by alternating least squares (Zhou et al., 2008).

    The penalties of biases and of factors are those that a tenth of the rows likes best.
    """
    error = held_out_error(train, seed)

    def fitted(rows: RatingRows, penalties: tuple[float, float]) -> Predictor:
        model = _Model(rows, np.random.default_rng(seed))
        precision = np.diag([penalties[0]] + [penalties[1]] * FACTORS)
        prior = np.zeros(FACTORS + 1), precision
        with threadpool_limits(1):  # many small matrices: threads would only wait for each other
            for _ in range(SWEEPS):
                for side in (0, 1):
                    model.sides[side] = model.conditional(side, *prior, noise=1.0)[0]
        return lambda asked: _clipped(model.predict(asked), rows)

    grid = [(bias, factor) for bias in BIAS_PENALTIES for factor in FACTOR_PENALTIES]
    return fitted(train, min(grid, key=lambda penalties: error(lambda rows: fitted(rows, penalties))))


@threadpool_limits.wrap(limits=1)  # type: ignore[untyped-decorator]
def bayesian(train: RatingRows, *, seed: int) -> Predictor:
    """The mean prediction over the posterior of biases and factors (Salakhutdinov and Mnih, 2008).

    Unlike there, biases are drawn together with the factors, under the same prior, and the
    precision of the ratings is drawn too.
    """
    rng = np.random.default_rng(seed)
    model = _Model(train, rng)
    draws = []
    noise = 1.0
    for draw in range(BURN_IN + DRAWS):
        for side in (0, 1):
            mean, precision = _drawn_prior(model.sides[side], rng)
            centres, roots = model.conditional(side, mean, precision, noise)
            spread = np.linalg.solve(np.swapaxes(roots, 1, 2), rng.normal(size=(*centres.shape, 1)))
            model.sides[side] = centres + spread[..., 0]
        errors = train.ratings - model.predict(train)
        noise = rng.gamma(1 + len(errors) / 2, 1 / (1 + float(errors @ errors) / 2))
        if draw >= BURN_IN:
            draws.append(tuple(side.astype(np.float32) for side in model.sides))

    def predict(rows: RatingRows) -> Floats:
        total = np.zeros(len(rows.ratings))
        for sides in draws:
            total += model.predict(rows, sides)
        return _clipped(total / len(draws), train)

    return predict


class _Model:
    """Biases and factors of both sides, users first."""

    def __init__(self, train: RatingRows, rng: np.random.Generator) -> None:
        """Start without biases and with factors close to 0."""
        sizes = (int(train.users.max()) + 1, int(train.items.max()) + 1)
        self.mean = float(train.ratings.mean(dtype=np.float64))
        values = train.ratings.astype(np.float64) - self.mean
        table = sparse.csr_matrix((values, (train.users, train.items)), shape=sizes)
        seen = sparse.csr_matrix((np.ones(len(values)), (train.users, train.items)), shape=sizes)
        self._rows = ((table, seen), (table.T.tocsr(), seen.T.tocsr()))
        self.sides = [np.zeros((size, FACTORS + 1)) for size in sizes]
        for side in self.sides:
            side[:, 1:] = rng.normal(scale=0.1, size=(len(side), FACTORS))

    def conditional(
        self, side: int, mean: Doubles, precision: Doubles, noise: float
    ) -> tuple[Doubles, Doubles]:
        """What the ratings and the other side say of each user (`side` 0) or item (1).

        Args:
            side: Which side.
            mean: [C] of the prior.
            precision: [C, C] of the prior.
            noise: Precision of a rating.

        Returns:
            [U, C] means and [U, C, C] lower roots of the precisions, of normal distributions.
        """
        table, seen = self._rows[side]
        other = self.sides[1 - side]
        inputs = np.concatenate([np.ones((len(other), 1)), other[:, 1:]], axis=1)  # [V, C]
        squares = (inputs[:, :, None] * inputs[:, None]).reshape(len(inputs), -1)
        precisions = precision + noise * (seen @ squares).reshape(-1, *precision.shape)
        totals = table @ inputs - seen @ (inputs * other[:, :1])  # less what the other side's bias explains
        targets = precision @ mean + noise * totals
        means: Doubles = np.linalg.solve(precisions, targets[..., None])[..., 0]
        return means, np.linalg.cholesky(precisions)

    def predict(self, rows: RatingRows, sides: Sequence[npt.NDArray[np.floating]] = ()) -> Doubles:
        """[R] ratings; a user or item without training rows is the average one."""
        users, items = (
            _looked_up(side, codes)
            for side, codes in zip(sides or self.sides, (rows.users, rows.items), strict=True)
        )
        products = np.einsum("rk,rk->r", users[:, 1:], items[:, 1:])
        predicted: Doubles = self.mean + users[:, 0] + items[:, 0] + products
        return predicted


def _drawn_prior(side: Doubles, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Mean and precision of the normal distribution that the rows [U, C] may come from.

    Drawn from their normal-Wishart posterior (Salakhutdinov and Mnih, 2008, eq. 14), with
    their hyperparameters: a mean of 0 that counts for two rows, and a scale of 1.
    """
    rows, width = side.shape
    average = side.mean(axis=0)
    scatter = np.eye(width) + (side - average).T @ (side - average)
    scatter += 2 * rows / (2 + rows) * np.outer(average, average)
    # Bartlett's decomposition of a Wishart draw with `width` + `rows` degrees of freedom
    triangle = np.tril(rng.normal(size=(width, width)), -1)
    triangle += np.diag(np.sqrt(rng.chisquare(width + rows - np.arange(width))))
    root = np.linalg.inv(np.linalg.cholesky(scatter)).T @ triangle
    precision: Doubles = root @ root.T
    spread = np.linalg.solve(np.linalg.cholesky((2 + rows) * precision).T, rng.normal(size=width))
    return rows * average / (2 + rows) + spread, precision


def _looked_up(side: npt.NDArray[np.floating], codes: Longs) -> Doubles:
    known = codes < len(side)
    return np.where(known[:, None], side[np.where(known, codes, 0)], 0.0)


def _clipped(predicted: Doubles, train: RatingRows) -> Floats:
    clipped: Floats = np.clip(predicted, train.ratings.min(), train.ratings.max()).astype(np.float32)
    return clipped
