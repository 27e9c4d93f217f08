"""Whom the towers start from and follow: closed-form EASE that reads all ratings, exact or of low rank.

EASE (Steck, 2019) rebuilds the likes L [U, N] from themselves. What users rated at all says as much of
what they will like, and whatever they thought of it then, it interested them. So both are read: with
R [U, N] the ratings of any kind, Z = [L, s R], Y = L + c (R - L) and users balanced by W, the weights
B [2 N, N] are the ridge regression

    min |Y - Z B|^2 + penalty |B|^2,    B_jj = B_(N + j)j = 0,

in which no item says anything of itself. Of P = (Z'WZ + penalty I)^-1 and its blocks P_j [2, 2] of an
item's two columns, column j of B is -P [e_j, e_(N + j)] P_j^-1 [1 - c, c / s]' outside of them. A like
counts with both rows of its item, another rating with the second: scores are L A + (R - L) C.
Symbols: `B` users, `U` training users, `N` items, `M` rated ones, `C` items that are asked about,
`K` directions.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from scipy import linalg, sparse

from deepmoviematch.data.arrays import Flags, Floats, Ints, Longs
from deepmoviematch.data.features import LIKE_STARS
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.ease import LARGEST, root_of
from deepmoviematch.trainer.likes import marked
from deepmoviematch.trainer.models.low_rank import LowRankInverse, leading
from deepmoviematch.trainer.recipe import RetrievalRecipe

WIDEST = 3
"""Items for each direction up to which the weights are laid out: of more it is sooner to multiply twice."""

MOST_FACTORS = 2 * 10**8
"""Directions times rated items of an exact solution at most, 800 MB for each of its three tables."""

MOST_SCORES = 2**25
"""Users times items for which EASE's scores of everyone are laid out, 128 MiB, to start the towers."""


class Known(NamedTuple):
    """What is known of users."""

    likes: sparse.csr_matrix
    """[B, N] 1 where an item is liked."""

    others: sparse.csr_matrix
    """[B, N] 1 where it is rated, and not liked."""

    def take(self, users: Flags | Longs) -> "Known":
        """The same of some of the users."""
        return Known(self.likes[users], self.others[users])


def known_of(ratings: Ratings, items: int) -> Known:
    """What is known of all users [U], of so many items."""
    liked = ratings.stars >= LIKE_STARS
    shape = len(ratings.user_ids), items
    return Known(*(marked(ratings.users[each], ratings.items[each], shape) for each in (liked, ~liked)))


class Teacher(Protocol):
    """Item-to-item weights A of likes and C of other ratings, [N, N] with no diagonals, in whatever form.

    Where likes alone are read there is no C, which would be 0.
    """

    def score(self, known: Known, asked: Ints) -> Floats:
        """[B, C] scores of the rows `asked` of the catalogue, known ones at any."""

    def times(self, vectors: Floats) -> tuple[Floats, ...]:
        """A @ `vectors` [N, .] and, if there is a C, C @ `vectors`."""

    def transposed_times(self, likes: Floats, others: Floats) -> Floats:
        """A' @ `likes` [N, .] + C' @ `others` [N, .]."""


def teacher_of(known: Known, recipe: RetrievalRecipe, signal: float) -> Teacher:
    """EASE of what is known of the training users: exact where that is not too large, else of low rank.

    Args:
        known: Of U users.
        recipe: Has the penalty, s and c.
        signal: How much of s and c holds in these data, 0 to 1; see `interest.py`.
    """
    rated, rated_weight = known.likes + known.others, signal * recipe.rated_weight
    items = np.flatnonzero(rated.getnnz(axis=0)).astype(np.int32)
    weights = np.sqrt(balanced_weights(known.likes))
    columns = [known.likes[:, items], rated_weight * rated[:, items]][: 1 + (rated_weight > 0)]
    rows = (sparse.diags_array(weights) @ sparse.hstack(columns)).tocsr().astype(np.float32)
    if is_exact(rows.shape[0], rows.shape[1], len(items)):
        inverse = _inverse_root(rows, recipe.ease_penalty)
    else:
        found = LowRankInverse.fit(rows, recipe.ease_penalty, np.random.default_rng([recipe.seed, 3]))
        inverse = found.scale, -1, found.factors.T
    wanted = 1 - signal * recipe.interest, recipe.interest / recipe.rated_weight
    solved = Solved.of(*inverse, wanted[: len(columns)])
    form = DenseTeacher if len(items) <= min(WIDEST * len(solved.targets), LARGEST) else FactoredTeacher
    return form.of(solved, items, known.likes.shape[1], rated_weight)


def is_exact(users: int, columns: int, rated: int) -> bool:
    """Whether EASE is solved exactly for Z [`users`, `columns`] of so many rated items."""
    directions = min(users, columns)
    return directions <= LARGEST and directions * rated <= MOST_FACTORS


def start(
    teacher: Teacher, known: Known, width: int, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Tables Q [N, `width`], AQ and CQ: what is known times AQ and CQ, then Q', rebuilds the scores.

    Q are the first right singular vectors of the scores of everyone, 0 for items that nobody rated.
    Where nobody rated two items all scores are 0, and Q is made of popularity alone:
    products of nothing but zeros would learn nothing.
    """
    users, items = known.likes.shape
    counts = (known.likes + known.others).getnnz(axis=0)
    tables = np.zeros((3, items, width), dtype=np.float32)
    rank = min(width, users, int((counts > 0).sum()))

    scores = None
    # Factors would let what is known score itself, which `times` takes out.
    if isinstance(teacher, DenseTeacher) and users * items <= MOST_SCORES:
        scores = teacher.score(known, np.arange(items, dtype=np.int32))

    def squared(vectors: Floats) -> Floats:
        """What everyone's scores S make of `vectors`: S'S @ vectors."""
        if scores is not None:
            return np.asarray(scores.T @ (scores @ vectors))
        found = sum(told @ each for told, each in zip(known, teacher.times(vectors), strict=False))
        return teacher.transposed_times(known.likes.T @ found, known.others.T @ found)

    found, squares = leading(squared, items, rank, rng)
    if not squares[0] > 0:
        likes = known.likes.getnnz(axis=0).astype(np.float32)
        tables[0, :, 0] = likes / np.linalg.norm(likes)
        return tables[0], tables[1], tables[2]
    tables[0, :, :rank] = found
    for table, taught in zip(tables[1:], teacher.times(tables[0]), strict=False):
        table[:] = taught
    return tables[0], tables[1], tables[2]


class Solved(NamedTuple):
    """B without its zeros: for each part of Z its own source' `targets`, one below the other."""

    sources: tuple[Floats, ...]
    """[K, M] each: of likes and, if these are read, of ratings of any kind."""

    targets: Floats
    """[K, M]"""

    @classmethod
    def of(cls, base: Floats, sign: int, root: Floats, wanted: tuple[float, ...]) -> "Solved":
        """Solve, given P = diag(`base`) + `sign` `root`'`root`.

        Args:
            base: [M] for each part of Z.
            sign: 1 or -1.
            root: [K, M] for each part of Z, side by side.
            wanted: What an item's column of each part counts in what is to be rebuilt.
        """
        roots = np.split(root, len(wanted), axis=1)
        blocks = [
            start + sign * np.einsum("km,km->m", each, each)
            for start, each in zip(np.split(base.astype(np.float64), len(wanted)), roots, strict=True)
        ]
        # Inverses of the blocks, times what is wanted.
        if len(wanted) == 1:
            counts = [wanted[0] / blocks[0]]
        else:
            first, second = blocks
            across = sign * np.einsum("km,km->m", *roots).astype(np.float64)
            area = first * second - across**2
            counts = [
                (second * wanted[0] - across * wanted[1]) / area,
                (first * wanted[1] - across * wanted[0]) / area,
            ]
        targets = sum(each * by.astype(np.float32) for each, by in zip(roots, counts, strict=True))
        return cls(tuple(-sign * each for each in roots), np.asarray(targets))


@dataclass(frozen=True, eq=False)
class DenseTeacher:
    """Weights that are laid out; see `Teacher`."""

    items: Ints
    """[M] the rated rows of the catalogue, in ascending order; all others have weight 0."""

    size: int
    """N"""

    weights: tuple[Floats, ...]
    """[M, M] A and, if there is one, C."""

    @classmethod
    def of(cls, solved: Solved, items: Ints, size: int, rated_weight: float) -> "DenseTeacher":
        """Multiply out."""
        weights = [source.T @ solved.targets for source in solved.sources]
        if len(weights) > 1:
            weights[1] *= np.float32(rated_weight)
            weights[0] += weights[1]
        for each in weights:
            each[np.diag_indices(len(items))] = 0
        return cls(items, size, tuple(weights))

    def score(self, known: Known, asked: Ints) -> Floats:
        """See `Teacher.score`."""
        scores = np.zeros((known.likes.shape[0], self.size), dtype=np.float32)
        scores[:, self.items] = sum(
            told[:, self.items] @ weights for told, weights in zip(known, self.weights, strict=False)
        )
        return scores[:, asked]

    def times(self, vectors: Floats) -> tuple[Floats, ...]:
        """See `Teacher.times`."""
        return tuple(self._placed(weights @ vectors[self.items]) for weights in self.weights)

    def transposed_times(self, likes: Floats, others: Floats) -> Floats:
        """See `Teacher.transposed_times`."""
        pairs = zip(self.weights, (likes, others), strict=False)
        return self._placed(np.asarray(sum(weights.T @ vectors[self.items] for weights, vectors in pairs)))

    def _placed(self, rows: Floats) -> Floats:
        placed = np.zeros((self.size, rows.shape[1]), dtype=np.float32)
        placed[self.items] = rows
        return placed


@dataclass(frozen=True, eq=False)
class FactoredTeacher:
    """Weights A = F G' and C = H G' off their diagonals; see `Teacher`."""

    sources: tuple[Floats, ...]
    """[N, K] F and, if there is a C, H."""

    targets: Floats
    """G [N, K]"""

    @classmethod
    def of(cls, solved: Solved, items: Ints, size: int, rated_weight: float) -> "FactoredTeacher":
        """Keep the factors."""
        likes, *others = solved.sources
        others = [np.float32(rated_weight) * each for each in others]
        parts = [sum(others, start=likes), *others, solved.targets]
        tables = np.zeros((len(parts), size, len(likes)), dtype=np.float32)
        tables[:, items] = np.swapaxes(np.stack(parts), 1, 2)
        return cls(tuple(tables[:-1]), tables[-1])

    def score(self, known: Known, asked: Ints) -> Floats:
        """See `Teacher.score`."""
        found = sum(told @ source for told, source in zip(known, self.sources, strict=False))
        return np.asarray(found @ self.targets[asked].T)

    def times(self, vectors: Floats) -> tuple[Floats, ...]:
        """See `Teacher.times`."""
        found = self.targets.T @ vectors
        return tuple(source @ found - _diagonal(source, self.targets) * vectors for source in self.sources)

    def transposed_times(self, likes: Floats, others: Floats) -> Floats:
        """See `Teacher.transposed_times`."""
        pairs = list(zip(self.sources, (likes, others), strict=False))
        result = self.targets @ sum(source.T @ vectors for source, vectors in pairs)
        for source, vectors in pairs:
            result -= _diagonal(source, self.targets) * vectors
        return np.asarray(result)


def balanced_weights(likes: sparse.csr_matrix) -> Floats:
    """[U] weights n^-1/2 of users with n likes, 1 on average, so that heavy users do not drown the rest.

    Those of users without likes are as of those with one: what they rate low counts little.
    """
    counts = likes.getnnz(axis=1)
    weights: Floats = (1 / np.sqrt(np.maximum(counts, 1))).astype(np.float32)
    return weights / weights[counts > 0].mean() if counts.any() else weights


def _inverse_root(rows: sparse.csr_matrix, penalty: float) -> tuple[Floats, int, Floats]:
    """`base`, `sign` and `root` of P = (X'X + penalty I)^-1 for X = `rows` [U, F], as `Solved.of` takes them.

    P is solved for in the smaller dimension of X (Woodbury).
    """
    users, columns = rows.shape
    wide = users < columns
    gram = (rows @ rows.T if wide else rows.T @ rows).toarray()
    factor = root_of(gram, penalty, "ease_penalty")
    if wide:
        root = linalg.solve_triangular(factor, rows.toarray(), lower=True, check_finite=False)
        root /= np.float32(np.sqrt(penalty))
        return np.full(columns, 1 / penalty, dtype=np.float32), -1, root
    root = linalg.solve_triangular(factor, np.eye(columns, dtype=np.float32), lower=True, check_finite=False)
    return np.zeros(columns, dtype=np.float32), 1, root


def _diagonal(left: Floats, right: Floats) -> Floats:
    """[N, 1] of `left` `right`', both [N, K]."""
    diagonal: Floats = np.sum(left * right, axis=1, keepdims=True)
    return diagonal
