"""The line that `attribution` follows through the retrieval recipe's user tower.

Symbols: `S` points on a line, `K` items, `Z` inputs, `H` interactions, `L` of them the latest, `N`
items of the catalogue, `D` width of a vector, `M` features of the moment.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from deepmoviematch.data.arrays import Floats, Longs
from deepmoviematch.data.features import (
    LIKE_STARS,
    RECENCY,
    TRANSITION,
    WINDOW,
    preference_gate,
    preference_signal,
)
from deepmoviematch.indexer.towers.gradients import Passing, backward, forward, unit_backward
from deepmoviematch.indexer.towers.mlp import Mlp, unit


class Tables(NamedTuple):
    """What an interaction of one kind, a like or another rating, is to the tower."""

    direct: Floats
    """[N, D - 1] what it adds to the vector."""

    known: Floats
    """[N, .] what the MLP reads of it."""


class Order(NamedTuple):
    """What reads the order of a history."""

    recent: Floats
    """[N, .] what the MLP reads of an item."""

    transitions: Floats
    """[N, .] where it leads."""

    step: Mlp


class TastePath:
    """From a user of whom nothing is known to one user's taste, or to what is next for the user.

    The inputs are the bags (as they are added to the vector, and as the MLP reads them),
    the signals of the preferences, how many likes and other ratings there are, the gate, for each
    feature of the moment whether it is told, and for what is next the fading sums. Bags and sums
    are linear in the interactions, so each of these owns a part. How many likes there are is
    shared equally among the likes, and how many other ratings among those. The gate, which only
    a history moves, is shared equally among all interactions.
    """

    def __init__(
        self,
        preferences: Mapping[int, float],
        history: Mapping[int, float],
        *,
        likes: Tables,
        others: Tables,
        deep: Mlp,
        taste: Mlp,
        gate: float,
        moment: Floats | None,
        order: Order | None,
    ) -> None:
        """Prepare the line to a user (genre column -> stars, catalogue row -> stars, the oldest first).

        Args:
            preferences: Stated.
            history: Of any length.
            likes: What a like is.
            others: What another rating is.
            deep: Reads the bags, the signals and the counts.
            taste: Reads the signals.
            gate: Exponent of the gate.
            moment: [M, D - 1] what each feature of the moment adds; None where none is told.
            order: What reads the order; None for a taste.
        """
        self._deep, self._taste, self._moment, self._order = deep, taste, moment, order
        self._rows = np.fromiter(history, np.int64, len(history))
        liked = np.fromiter((stars >= LIKE_STARS for stars in history.values()), np.bool_, len(history))
        self._kinds = (likes, np.flatnonzero(liked)), (others, np.flatnonzero(~liked))
        self._stated = list(preferences)
        stated = np.full((1, taste.inputs), np.nan, dtype=np.float32)
        stated[0, self._stated] = list(preferences.values())
        blocks = [
            sum((self._bag(tables.direct, chosen) for tables, chosen in self._kinds), np.float32(0)),
            *(self._bag(tables.known, chosen) for tables, chosen in self._kinds),
            *preference_signal(stated),
            np.log1p([len(chosen) for _, chosen in self._kinds]),
            preference_gate(np.array([bool(preferences)]), np.array([len(history)]), gate),
            np.ones(0 if moment is None else len(moment)),
        ]
        if order is not None:
            self._latest = self._rows[: -WINDOW - 1 : -1]
            self._fading = RECENCY[len(self._latest), : len(self._latest)]  # [L, SUMMARIES]
            blocks += [
                (self._fading.T @ order.recent[self._latest]).ravel(),
                self._fading[:, TRANSITION] @ order.transitions[self._latest],
            ]
        places = _places(blocks)
        self._direct, *known, self._signal, self._counts, self._gate, self._told = places[:7]
        self._known, self._sums, self._follows = known, *(places[7:] or [slice(0), slice(0)])
        self._read = slice(known[0].start, self._counts.stop)
        self.end: Floats = np.concatenate(blocks).astype(np.float32)
        self.start = np.zeros_like(self.end)
        self.start[self._gate] = 1

    def vectors(self, inputs: Floats) -> Floats:
        """See `Path.vectors`."""
        vectors = self._asking(unit(self._tastes(inputs)[0]), inputs)
        if self._order is not None:
            vectors = unit(self._moved(self._order, vectors, inputs)[0])
        return np.pad(vectors, ((0, 0), (0, 1)))

    def gradients(self, inputs: Floats, items: Floats) -> Floats:
        """See `Path.gradients`."""
        tastes, contrast, deep_passing, taste_passing = self._tastes(inputs)
        gradients = np.empty((len(inputs), len(items), inputs.shape[1]), dtype=np.float32)
        wanted = np.broadcast_to(items[:, :-1], (len(inputs), len(items), items.shape[1] - 1))
        plain = unit(tastes)
        if self._order is not None:
            whole, moved, passing = self._moved(self._order, self._asking(plain, inputs), inputs)
            wanted, gradients[:, :, self._follows] = np.split(
                unit_backward(whole, wanted), [moved.shape[1]], axis=2
            )
            wanted = unit_backward(moved, wanted)
            gradients[:, :, self._sums] = backward(self._order.step, passing, wanted)
        if self._moment is not None:
            wanted = unit_backward(plain + inputs[:, self._told] @ self._moment, wanted)
            gradients[:, :, self._told] = wanted @ self._moment.T
        wanted = unit_backward(tastes, wanted)
        gate = inputs[:, None, self._gate]  # [S, 1, 1]
        gradients[:, :, self._direct] = let_in = (1 - gate) * wanted
        gradients[:, :, self._read] = backward(self._deep, deep_passing, let_in)
        gradients[:, :, self._signal] += backward(self._taste, taste_passing, gate * wanted)
        gradients[:, :, self._gate] = np.einsum("skd,sd->sk", wanted, contrast)[:, :, None]
        return gradients

    def shares(self, integrals: Floats) -> tuple[Floats, Floats, Floats]:
        """See `Path.shares`."""
        moved = integrals * (self.end - self.start)
        history = np.zeros((len(integrals), len(self._rows)), dtype=np.float32)
        for (tables, chosen), known, by_count in zip(
            self._kinds, self._known, moved[:, self._counts].T, strict=True
        ):
            rows = self._rows[chosen]
            own = (
                integrals[:, self._direct] @ tables.direct[rows].T
                + integrals[:, known] @ tables.known[rows].T
            )
            history[:, chosen] = _share(chosen) * own + by_count[:, None] / max(1, len(chosen))
        history += moved[:, self._gate] / max(1, len(self._rows))
        if self._order is not None:
            history[:, ::-1][:, : len(self._latest)] += self._by_age(self._order, integrals)
        return history, moved[:, self._signal][:, self._stated], moved[:, self._told]

    def _by_age(self, order: Order, integrals: Floats) -> Floats:
        """[K, L] what each of the latest items did by its place, the latest first."""
        sums = integrals[:, self._sums].reshape(len(integrals), -1, order.recent.shape[1])
        steps = np.sum((self._fading @ sums) * order.recent[self._latest], axis=2)
        follows = integrals[:, self._follows] @ order.transitions[self._latest].T
        parts: Floats = steps + self._fading[:, TRANSITION] * follows
        return parts

    def _bag(self, table: Floats, chosen: Longs) -> Floats:
        bag: Floats = _share(chosen) * table[self._rows[chosen]].sum(axis=0)
        return bag

    def _tastes(self, inputs: Floats) -> tuple[Floats, Floats, Passing, Passing]:
        """Tastes [S, D - 1] of any length, and what their gradients need.

        That is: by how much what is stated differs from the history, and what both MLPs let pass.
        """
        deep, deep_passing = forward(self._deep, inputs[:, self._read])
        bag = inputs[:, self._direct] + deep
        stated, taste_passing = forward(self._taste, inputs[:, self._signal])
        gate = inputs[:, self._gate]
        return (1 - gate) * bag + gate * stated, stated - bag, deep_passing, taste_passing

    def _asking(self, tastes: Floats, inputs: Floats) -> Floats:
        """Unit `tastes` [S, D - 1], moved by the moment."""
        if self._moment is None:
            return tastes
        return unit(tastes + inputs[:, self._told] @ self._moment)

    def _moved(self, order: Order, tastes: Floats, inputs: Floats) -> tuple[Floats, Floats, Passing]:
        """What is next [S, .] of any length; its part that tastes make [S, D - 1]; what the MLP lets pass."""
        step, passing = forward(order.step, inputs[:, self._sums])
        moved = tastes + step
        return np.concatenate([unit(moved), inputs[:, self._follows]], axis=1), moved, passing


def _share(chosen: Longs) -> float:
    """What each of these interactions weighs in a bag of unit length."""
    return float(max(1, len(chosen)) ** -0.5)


def _places(blocks: Sequence[Floats]) -> list[slice]:
    """Where each block is when they are put end to end."""
    ends = np.cumsum([0, *map(len, blocks)]).tolist()
    return [slice(first, last) for first, last in pairwise(ends)]
