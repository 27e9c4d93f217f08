"""Lists that do not say the same thing ten times: variety of items, and a cap for each genre.

Symbols: `P` candidates, `D` embedding width, `G` genres.
"""

from collections.abc import Sequence

import numpy as np

from deepmoviematch.data.arrays import Doubles, Flags, Floats, Ints, Longs

BLOCK = 4096
"""Candidates that are held to a cap at once."""


class Cap:
    """Counts the genres of a list as it grows; nothing joins once one of its genres is full.

    Items without a genre always may. What was turned away once never may join later.
    """

    def __init__(self, genres: Flags, most: int) -> None:
        """Begin an empty list.

        Args:
            genres: [N, G] genres of every item.
            most: Items of the list that may share a genre, at least 1.
        """
        self._genres, self._most = genres, most
        self._left: Ints = np.full(genres.shape[1], most, dtype=np.int32)

    def take(self, row: int) -> bool:
        """Have an item join that may; returns whether a genre is full by it."""
        self._left -= self._genres[row]
        return bool((self._left[self._genres[row]] == 0).any())

    def open(self, rows: Longs) -> Flags:
        """[P] whether each item may join next."""
        full = self._left == 0
        return np.logical_not(self._genres[rows][:, full].any(axis=1))

    def admit(self, rows: Longs, count: int) -> Longs:
        """Go through `rows` in their order and have whatever may join do so, until `count` have.

        Returns:
            Places in `rows` of those that joined.
        """
        joined: list[Longs] = []
        for first in range(0, len(rows), BLOCK):
            places = first + np.flatnonzero(self.open(rows[first : first + BLOCK]))
            while count > 0 and len(places):
                flags = self._genres[rows[places]]
                over = (np.cumsum(flags, axis=0) > self._left).any(axis=1)
                # All before the first that is too much may join at once.
                fits = places[: min(count, int(over.argmax()) if over.any() else len(places))]
                self._left -= self._genres[rows[fits]].sum(axis=0, dtype=np.int32)
                joined.append(fits)
                count -= len(fits)
                places = places[len(fits) :]
                places = places[self.open(rows[places])]
            if count == 0:
                break
        return np.concatenate([np.empty(0, dtype=np.int64), *joined])


def marginal_relevance(
    relevance: Doubles, directions: Floats, count: int, *, strength: float, cap: Cap | None, rows: Longs
) -> Longs:
    """Choose candidates one after the other, each the most relevant that is least like those before it.

    Maximal marginal relevance (Carbonell and Goldstein, 1998): the next one has the largest
    (1 - strength) * relevance - strength * (its largest cosine to one chosen before).

    Args:
        relevance: [P] of the candidates.
        directions: [P, D] unit vectors.
        count: How many to choose; the first ones do not depend on it.
        strength: 0 looks at relevance alone, 1 at likeness alone.
        cap: What else each must keep to, if anything.
        rows: [P] of the candidates, for `cap`.

    Returns:
        Places among the candidates, the first chosen first.
    """
    worth = ((1 - strength) * relevance).astype(np.float32)  # minus infinity for what may not be chosen
    likeness = np.zeros(len(relevance), dtype=np.float32)
    chosen: list[int] = []
    while len(chosen) < count:
        best = int((worth - np.float32(strength) * likeness).argmax())
        if worth[best] == -np.inf:
            break
        cosines = directions @ directions[best]
        likeness = np.maximum(likeness, cosines) if chosen else cosines
        chosen.append(best)
        worth[best] = -np.inf
        if cap is not None and cap.take(int(rows[best])):
            worth[~cap.open(rows)] = -np.inf
    return np.array(chosen, dtype=np.int64)


def intra_list_diversity(directions: Floats) -> float:
    """Mean cosine distance, 0 to 2, over the pairs of a list (Ziegler et al., 2005); 0 for less than a pair.

    Args:
        directions: [K, D] unit vectors of the items.
    """
    size = len(directions)
    if size < 2:
        return 0.0
    total = directions.sum(axis=0, dtype=np.float64)  # [D]
    own = np.einsum("kd,kd->", directions, directions, dtype=np.float64)
    return float(1 - (total @ total - own) / (size * (size - 1)))


def rescaled(values: Sequence[float] | Floats) -> Doubles:
    """[P] the values between 0, the least of them, and 1, the largest; all 1 where they are equal."""
    array: Doubles = np.asarray(values, dtype=np.float64)
    low, high = (array.min(), array.max()) if len(array) else (0.0, 0.0)
    return (array - low) / (high - low) if high > low else np.ones_like(array)
