"""The taste tower for users with a history alone: three products each instead of thirty steps.

What the tower does to each item before its first ReLU is linear, so it is done once for
every item beforehand. A bias is the weight of an input that is always 1. Products are by user, not one
for all: BLAS rounds in an order that depends on the shape, and nobody's vector is to depend on others. Nor
is it to depend on the order of the history, so rows are sorted before they are summed.
Symbols: `B` users, `N` items, `D` the tower's width, `H` the first hidden layer's.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.features import LIKE_STARS, tells_likes_alone
from deepmoviematch.indexer.towers.taste_path import Tables

LARGEST_BYTES = 1 << 26
"""A table larger than this is not worth its memory, which every process has for itself."""

_ZERO = np.float32(0)


class PrecomputedHistories:
    """Embeds histories by looking up rows."""

    def __init__(
        self,
        likes: Tables,
        alone: Tables,
        others: Tables,
        layers: Sequence[tuple[Floats, Floats]],
    ) -> None:
        """Multiply the tables out.

        Args:
            likes: What a like is beside other ratings.
            alone: What a like is where nothing else is told.
            others: What any other rating is.
            layers: Kernel [in, out] and bias [out] of each layer. The first takes the bag
                of the likes, that of the others, signals that are 0 here, and how many
                likes and others there are (log1p).
        """
        (first, first_bias), *middle, (last, last_bias) = layers
        size, width = len(likes.direct), likes.known.shape[1]
        # A user's vector so far, with a 0 where items keep their norm; the first hidden layer; and the 1
        # that all biases are weights of.
        dim = likes.direct.shape[1]
        self._columns = columns = dim + 1
        self._size = size
        self._table = np.zeros((3 * size + 3, columns + first.shape[1] + 1), dtype=np.float32)
        for place, kind, kernel in (
            (0, likes, first[:width]),
            (size, others, first[width : 2 * width]),
            (2 * size, alone, first[:width]),
        ):
            rows = slice(place, place + size)
            self._table[rows, :dim] = kind.direct
            np.matmul(kind.known, kernel, out=self._table[rows, columns:-1])
        end = 3 * size
        self._table[end, :dim] = last_bias
        self._table[end, columns:-1] = first_bias
        self._table[end, -1] = 1
        self._table[end + 1 :, columns:-1] = first[-2:]
        self._constant = [end, end + 1, end + 2]
        self._middle = [_with_bias(kernel, bias) for kernel, bias in middle]
        self._last = np.pad(last, ((0, 1), (0, 1)))

    @staticmethod
    def fits(likes: Floats, layers: Sequence[tuple[Floats, Floats]]) -> bool:
        """Whether the table would be small enough, and there are hidden layers to save on."""
        width = likes.shape[1] + layers[0][0].shape[1] + 1
        return len(layers) > 1 and 12 * len(likes) * width <= LARGEST_BYTES

    def __call__(self, histories: Sequence[Mapping[int, float]]) -> Floats:
        """[B, D + 1] where users with these histories (row -> stars) are, not yet of length 1; then a 0."""
        sums = np.empty((len(histories), self._table.shape[1]), dtype=np.float32)
        for history, bag in zip(histories, sums, strict=True):
            rows = [row for row, stars in history.items() if stars >= LIKE_STARS]
            rows.sort()
            liked = len(rows)
            if liked < len(history):
                rows += sorted([self._size + row for row, stars in history.items() if stars < LIKE_STARS])
            elif tells_likes_alone(liked, 0):
                rows = [2 * self._size + row for row in rows]
            weights = _weights(liked, len(rows) - liked)
            np.dot(weights, self._table.take(rows + self._constant, 0), out=bag)
        hidden = sums[:, None, self._columns :]  # [B, 1, H + 1]
        np.maximum(hidden, _ZERO, out=hidden)
        for kernel in self._middle:
            hidden = np.matmul(hidden, kernel)
            np.maximum(hidden, _ZERO, out=hidden)
        vectors: Floats = np.matmul(hidden, self._last)[:, 0]
        vectors += sums[:, : self._columns]
        return vectors


@lru_cache(256)  # of 10,000 items 40 KB each
def _weights(liked: int, others: int) -> Floats:
    """What each row counts: bags have unit length, then the 1 and the two counts."""
    bags = [max(liked, 1) ** -0.5] * liked + [max(others, 1) ** -0.5] * others
    return np.array([*bags, 1, math.log1p(liked), math.log1p(others)], dtype=np.float32)


def _with_bias(kernel: Floats, bias: Floats) -> Floats:
    """[in + 1, out + 1] a kernel that takes a last input of 1, and hands it on."""
    whole = np.zeros((kernel.shape[0] + 1, kernel.shape[1] + 1), dtype=np.float32)
    whole[:-1, :-1], whole[-1, :-1], whole[-1, -1] = kernel, bias, 1
    return whole
