"""Whom the towers start from and follow: closed-form EASE, exact or for catalogues too large for it.

Symbols: `B` users, `U` training users, `N` items, `C` items that are asked about, `K` directions.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from deepmoviematch.data.tables import Floats, Ints
from deepmoviematch.trainer.models.low_rank import LowRankInverse, leading
from deepmoviematch.trainer.peers.ease import LARGEST, Ease, balanced_weights
from deepmoviematch.trainer.recipe import RetrievalRecipe

MOST_SCORES = 2**25
"""Users times items for which EASE's scores of everyone are laid out, 128 MiB, to start the towers."""


class Teacher(Protocol):
    """Item-to-item weights B [N, N] with a zero diagonal, in whatever form."""

    def score(self, likes: sparse.csr_matrix, asked: Ints) -> Floats:
        """[B, C] scores of the rows `asked` of the catalogue for histories [B, N], known ones at any."""

    def times(self, vectors: Floats) -> Floats:
        """B @ `vectors` [N, .]."""

    def transposed_times(self, vectors: Floats) -> Floats:
        """B' @ `vectors` [N, .]."""


def teacher_of(likes: sparse.csr_matrix, recipe: RetrievalRecipe) -> Teacher:
    """EASE of the likes [U, N]: exact for up to `LARGEST` liked items, with low rank beyond."""
    if int((likes.getnnz(axis=0) > 0).sum()) <= LARGEST:
        return ExactTeacher(Ease.fit(likes, recipe.ease_penalty, balanced=True))
    return LowRankTeacher.fit(likes, recipe.ease_penalty, recipe.seed)


def start(
    teacher: Teacher, likes: sparse.csr_matrix, width: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Tables Q [N, `width`] and BQ: a history's product with BQ, then Q', rebuilds its scores X B.

    Q are the first right singular vectors of X B for the likes X [U, N], 0 for items that
    nobody likes. Where nobody likes two items B is 0, and Q is made of popularity alone:
    products of nothing but zeros would learn nothing.
    """
    items = likes.shape[1]
    tables = np.zeros((2, items, width), dtype=np.float32)
    if likes.getnnz(axis=1).max() < 2:
        counts = likes.getnnz(axis=0).astype(np.float32)
        tables[0, :, 0] = counts / np.linalg.norm(counts)
        return tables[0], tables[1]
    rank = min(width, likes.shape[0], int((likes.getnnz(axis=0) > 0).sum()))

    scores = None
    if isinstance(teacher, ExactTeacher) and likes.shape[0] * items <= MOST_SCORES:
        scores = teacher.ease.score(likes)

    def squared(vectors: Floats) -> Floats:
        """(XB)'(XB) @ vectors."""
        if scores is not None:
            return np.asarray(scores.T @ (scores @ vectors))
        return teacher.transposed_times(likes.T @ (likes @ teacher.times(vectors)))

    tables[0, :, :rank] = leading(squared, items, rank, rng)[0]
    tables[1] = teacher.times(tables[0])
    return tables[0], tables[1]


@dataclass(frozen=True, eq=False)
class ExactTeacher:
    """EASE itself; see `Teacher`."""

    ease: Ease

    def score(self, likes: sparse.csr_matrix, asked: Ints) -> Floats:
        """See `Teacher.score`."""
        return self.ease.score(likes)[:, asked]

    def times(self, vectors: Floats) -> Floats:
        """See `Teacher.times`."""
        return self._placed(self.ease.weights, vectors)

    def transposed_times(self, vectors: Floats) -> Floats:
        """See `Teacher.transposed_times`."""
        return self._placed(self.ease.weights.T, vectors)

    def _placed(self, weights: Floats, vectors: Floats) -> Floats:
        result: Floats = np.zeros_like(vectors)
        result[self.ease.items] = weights @ vectors[self.ease.items]
        return result


@dataclass(frozen=True, eq=False)
class LowRankTeacher:
    """EASE by `LowRankInverse`: weights are -P_ij / P_jj of the inverse P, so B = F G' off its diagonal."""

    users: Floats
    """F [N, K]"""

    items: Floats
    """G [N, K], F over the diagonal of P."""

    @classmethod
    def fit(cls, likes: sparse.csr_matrix, penalty: float, seed: int) -> "LowRankTeacher":
        """Solve for the likes [U, N], users balanced."""
        rows = (sparse.diags_array(np.sqrt(balanced_weights(likes))) @ likes).tocsr()
        inverse = LowRankInverse.fit(rows, penalty, np.random.default_rng([seed, 3]))
        diagonal = inverse.scale - np.sum(inverse.factors**2, axis=1)
        return cls(inverse.factors, inverse.factors / diagonal[:, None])

    def score(self, likes: sparse.csr_matrix, asked: Ints) -> Floats:
        """See `Teacher.score`."""
        scores: Floats = (likes @ self.users) @ self.items[asked].T
        return scores

    def times(self, vectors: Floats) -> Floats:
        """See `Teacher.times`."""
        result: Floats = self.users @ (self.items.T @ vectors) - self._diagonal * vectors
        return result

    def transposed_times(self, vectors: Floats) -> Floats:
        """See `Teacher.transposed_times`."""
        result: Floats = self.items @ (self.users.T @ vectors) - self._diagonal * vectors
        return result

    @property
    def _diagonal(self) -> Floats:
        """[N, 1] of F G'."""
        diagonal: Floats = np.sum(self.users * self.items, axis=1, keepdims=True)
        return diagonal
