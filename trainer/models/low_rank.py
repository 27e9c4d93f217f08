"""Squares of a catalogue that is too large for them, by their leading directions.

Symbols: `N` items, `U` rows of a sparse X [U, N], `K` directions that are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from deepmoviematch.data.arrays import Floats

DIRECTIONS = 256
"""K of an inverse."""

SPARE = 10
POWERS = 4
"""Extra columns and rounds of the subspace iteration."""


def leading(
    squared: Callable[[Floats], Floats],
    size: int,
    width: int,
    rng: np.random.Generator,
    *,
    powers: int = POWERS,
) -> tuple[Floats, Floats]:
    """Leading eigenvectors of a symmetric positive matrix [N, N] by subspace iteration (Halko et al., 2011).

    Args:
        squared: What the matrix makes of vectors [N, .].
        size: N.
        width: Vectors wanted, at most N.
        rng: Of the start.
        powers: Rounds; the last directions want more of them than the first.

    Returns:
        [N, `width`] orthonormal columns with sums of 0 or more, and [`width`] eigenvalues, falling.
    """
    basis = rng.standard_normal((size, min(width + SPARE, size))).astype(np.float32)
    for _ in range(powers):
        basis = linalg.qr(squared(basis), mode="economic", overwrite_a=True, check_finite=False)[0]
    values, turn = np.linalg.eigh(basis.T @ squared(basis))
    vectors = basis @ turn[:, ::-1][:, :width]
    return vectors * np.where(vectors.sum(axis=0) < 0, -1, 1).astype(np.float32), values[::-1][:width]


@dataclass(frozen=True, eq=False)
class LowRankInverse:
    """(X'X + penalty I)^-1 with X'X taken as its leading directions and what they leave of its diagonal.

    By Woodbury's identity it is diag(`scale`) - F F'. No square of the catalogue is made.
    """

    scale: Floats
    """[N]"""

    factors: Floats
    """F [N, K]"""

    @classmethod
    def fit(cls, rows: sparse.csr_matrix, penalty: float, rng: np.random.Generator) -> "LowRankInverse":
        """Invert for X = `rows` [U, N] and a `penalty` above 0, with `DIRECTIONS` or fewer if X has fewer."""
        vectors, squares = leading(
            lambda found: rows.T @ (rows @ found), rows.shape[1], min(DIRECTIONS, *rows.shape), rng
        )
        vectors, squares = vectors[:, squares > 1e-6 * squares[0]], squares[squares > 1e-6 * squares[0]]
        diagonal = np.asarray(rows.multiply(rows).sum(axis=0)).ravel()
        scale = 1 / (penalty + np.maximum(diagonal - vectors**2 @ squares, 0))
        spread = scale[:, None] * vectors
        root = np.linalg.cholesky(np.diag(1 / squares) + vectors.T @ spread)
        factors = linalg.solve_triangular(root, spread.T, lower=True).T
        return cls(scale.astype(np.float32), np.ascontiguousarray(factors, dtype=np.float32))

    def __call__(self, vectors: Floats) -> Floats:
        """The inverse times `vectors` [N, .]."""
        result: Floats = self.scale[:, None] * vectors - self.factors @ (self.factors.T @ vectors)
        return result
