"""Golden queries: sample users with the answers they got when a generation was built.

Whoever loads the generation asks again, and refuses it if the answers differ.
Symbols: `Q` queries, `K` answers to each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.context import HOURS, WEEKDAYS
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.vectors import VectorIndex
from deepmoviematch.indexer.towers import UserTower

TOP = 10
TOLERANCE = 1e-5
"""How far a score may be off: another processor rounds otherwise."""


def queries_from(reference: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The queries that a run's reference distribution offers: its sample users.

    Raises:
        GenerationError: If it has none.
    """
    queries = [
        *({"history": history, "preferences": []} for history in reference["histories"]),
        *({"history": [], "preferences": preferences} for preferences in reference["preferences"]),
    ]
    if not queries:
        raise GenerationError("reference.json must hold at least one sample user, got none")
    return queries


@dataclass(frozen=True, eq=False)
class Space:
    """One way to ask: how a user becomes a vector, and where that is searched."""

    embed: Callable[[UserBatch], Floats]

    index: VectorIndex


def spaces(tower: UserTower, index: VectorIndex, next_index: VectorIndex) -> dict[str, Space]:
    """The ways to ask by name.

    They are what suits a user, what is next, where that has an index of its own, and what suits at
    some moment, where moments are read.
    """
    ways = {"taste": Space(tower.embed, index)}
    if next_index is not index:
        ways["next"] = Space(tower.embed_next, next_index)
    if tower.moments.features:
        ways["moment"] = Space(lambda users: tower.embed(_at_moments(users)), index)
    return ways


def _at_moments(users: UserBatch) -> UserBatch:
    """The users, each at another hour and on another weekday, all on the first device."""
    place = np.arange(len(users))
    return replace(users, moments=np.stack([place % HOURS, place % WEEKDAYS, 0 * place], axis=1))


def users(queries: list[dict[str, Any]], catalogue: Catalogue) -> UserBatch:
    """The batch of Q users that `queries` describe."""
    return UserBatch.of(
        len(catalogue.genre_names),
        [dict(query["preferences"]) for query in queries],
        [dict(query["history"]) for query in queries],
    )


def record(queries: list[dict[str, Any]], ways: Mapping[str, Space], catalogue: Catalogue) -> dict[str, Any]:
    """The queries with today's answers to each of the `ways` to ask, for `replay`."""
    batch = users(queries, catalogue)
    golden: dict[str, Any] = {"queries": queries}
    for name, way in ways.items():
        hits = way.index.search(way.embed(batch), TOP)
        golden[name] = {
            "item_ids": [[catalogue.item_ids[row] for row in rows] for rows in hits.rows],
            "scores": hits.scores.astype(float).tolist(),
        }
    return golden


def replay(golden: Mapping[str, Any], ways: Mapping[str, Space], catalogue: Catalogue) -> None:
    """Ask again what `record` asked.

    An id may differ where its score ties, within the tolerance, with the recorded one.

    Raises:
        GenerationError: If an answer differs.
    """
    if not golden["queries"]:
        raise GenerationError("golden.json must hold at least one query, got none")
    batch = users(golden["queries"], catalogue)
    for name, way in ways.items():
        # The first format knew one way to ask, and did not name it.
        answers = golden if name == "taste" and name not in golden else golden[name]
        _compare(answers, way, batch, catalogue)


def _compare(answers: Mapping[str, Any], way: Space, batch: UserBatch, catalogue: Catalogue) -> None:
    vectors = way.embed(batch)
    hits = way.index.search(vectors, TOP)
    scores = np.asarray(answers["scores"], dtype=np.float32)  # [Q, K]
    rows = np.array([[catalogue.row_of[name] for name in names] for names in answers["item_ids"]])
    if not scores.shape == rows.shape == hits.scores.shape:
        raise GenerationError(
            f"golden queries must have {hits.scores.shape} answers, "
            f"got scores {scores.shape} and ids {rows.shape}"
        )
    if not (np.diff(np.sort(rows, axis=1), axis=1) > 0).all():
        raise GenerationError("a golden query's answers must be distinct")
    now = np.einsum("qd,qkd->qk", vectors, way.index.exact.view[rows])  # today's scores of the recorded items
    off = float(np.maximum(np.abs(hits.scores - scores), np.abs(now - scores)).max())
    if not off <= TOLERANCE:
        raise GenerationError(
            f"golden queries must get the scores they got at first, to {TOLERANCE}, got {off:.2g} off; "
            "tower and index are not of one run"
        )
