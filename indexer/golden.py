"""Golden queries: sample users with the answers they got when a generation was built.

Whoever loads the generation asks again, and refuses it if the answers differ.
Symbols: `Q` queries, `K` answers to each.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from deepmoviematch.data.features import UserBatch
from deepmoviematch.data.tables import Catalogue

from .errors import GenerationError
from .towers import UserTower
from .vectors import VectorIndex

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


def users(queries: list[dict[str, Any]], catalogue: Catalogue) -> UserBatch:
    """The batch of Q users that `queries` describe."""
    return UserBatch.of(
        len(catalogue.genre_names),
        [dict(query["preferences"]) for query in queries],
        [dict(query["history"]) for query in queries],
    )


def record(
    queries: list[dict[str, Any]], tower: UserTower, index: VectorIndex, catalogue: Catalogue
) -> dict[str, Any]:
    """The queries with today's answers, for `replay`."""
    hits = index.search(tower.embed(users(queries, catalogue)), TOP)
    return {
        "queries": queries,
        "item_ids": [[catalogue.item_ids[row] for row in rows] for rows in hits.rows],
        "scores": hits.scores.astype(float).tolist(),
    }


def replay(golden: Mapping[str, Any], tower: UserTower, index: VectorIndex, catalogue: Catalogue) -> None:
    """Ask again what `record` asked.

    An id may differ where its score ties, within the tolerance, with the recorded one.

    Raises:
        GenerationError: If an answer differs.
    """
    if not golden["queries"]:
        raise GenerationError("golden.json must hold at least one query, got none")
    vectors = tower.embed(users(golden["queries"], catalogue))
    hits = index.search(vectors, TOP)
    scores = np.asarray(golden["scores"], dtype=np.float32)  # [Q, K]
    rows = np.array([[catalogue.row_of[name] for name in names] for names in golden["item_ids"]])
    if not scores.shape == rows.shape == hits.scores.shape:
        raise GenerationError(
            f"golden queries must have {hits.scores.shape} answers, "
            f"got scores {scores.shape} and ids {rows.shape}"
        )
    if not (np.diff(np.sort(rows, axis=1), axis=1) > 0).all():
        raise GenerationError("a golden query's answers must be distinct")
    now = np.einsum("qd,qkd->qk", vectors, index.vectors()[rows])  # today's scores of the recorded items
    off = float(np.maximum(np.abs(hits.scores - scores), np.abs(now - scores)).max())
    if not off <= TOLERANCE:
        raise GenerationError(
            f"golden queries must get the scores they got at first, to {TOLERANCE}, got {off:.2g} off; "
            "tower and index are not of one run"
        )
