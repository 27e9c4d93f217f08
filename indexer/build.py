"""From a training run to a published generation, in seconds.

Symbols: `N` items, `D` embedding width.
"""

import io
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.indexer import golden
from deepmoviematch.indexer.comparison import refuse_worse
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.manifest import to_json
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.search.kinds import index_of
from deepmoviematch.indexer.search.vectors import VectorIndex
from deepmoviematch.indexer.store import Store
from deepmoviematch.indexer.towers import item_tower, user_tower

RECALL_AT = 10

SAMPLES = 200
"""Items whose neighbours are looked up to measure the recall of similar items: so many, or less than twice as
many, or all."""


def build(run: Path, store: Store, *, index: str = "auto", force: bool = False) -> Generation:
    """Publish the run in the folder `run` as the store's current generation.

    Args:
        run: The folder.
        store: Where to publish.
        index: How to search, one of `kinds.CHOICES`.
        force: Whether to publish it though it is clearly worse than what it replaces, or that cannot tell.

    Raises:
        GenerationError: If the run or what was made of it fails a check.
        WorseError: If it is worse; nothing has changed then.
        StoreError: If the disk refuses a step, or the current generation does not say how good it is.
    """
    loaded = Run.load(run)
    try:
        files, description = bundle(loaded, index=index)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise GenerationError(f"{run}: the parts of a run must fit each other, got {error!r}") from error
    return store.publish(files, description, check=None if force else partial(refuse_worse, description))


def bundle(run: Run, *, index: str = "auto") -> tuple[dict[str, bytes], dict[str, Any]]:
    """Make the files of a generation out of `run`, and the description for its manifest.

    Args:
        run: What the trainer left.
        index: How to search, one of `kinds.CHOICES`.
    """
    users, items = user_tower(run.user_tower), item_tower(run.item_tower)
    if (users.dim, users.next_dim) != (items.dim, items.next_dim):
        raise GenerationError(
            f"both towers must be as wide, got {users.dim} and {items.dim}, "
            f"{users.next_dim} and {items.next_dim} for what is next"
        )
    vectors = items.embed(run.catalogue)  # [N, D]
    directions = items.directions(vectors)  # [N, D]
    queries = golden.queries_from(run.reference)
    batch = golden.users(queries, run.catalogue)
    samples = users.embed(batch)
    nearest, found = _index_of(vectors, index, samples)
    similar, found_similar = _index_of(directions, index, directions[:: max(1, len(directions) // SAMPLES)])
    about: dict[str, Any] = {
        "kind": nearest.kind,
        "dim": nearest.dim,
        "items": nearest.size,
        f"recall_at_{RECALL_AT}": found,
        f"similar_recall_at_{RECALL_AT}": found_similar,
    }
    next_files, following = {}, nearest
    if users.next_dim != users.dim:
        next_vectors = items.embed_next(run.catalogue)  # [N, next_dim]
        following, found_next = _index_of(next_vectors, index, users.embed_next(batch))
        next_files = {"next_vectors.npy": _npy(next_vectors), "next.faiss": following.to_bytes()}
        about |= {"next_dim": following.dim, f"next_recall_at_{RECALL_AT}": found_next}
    spaces = golden.spaces(users, nearest, following)
    files = {
        "catalogue.json": to_json(run.catalogue.to_json()),
        **_within("user_tower", run.user_tower.to_files()),
        **_within("item_tower", run.item_tower.to_files()),
        "vectors.npy": _npy(vectors),
        "index.faiss": nearest.to_bytes(),
        "directions.npy": _npy(directions),
        "similar.faiss": similar.to_bytes(),
        **next_files,
        **(_within("rating_head", run.rating_head.to_files()) if run.rating_head else {}),
        "popularity.npy": _npy(run.popularity),
        "reference.json": to_json(run.reference),
        "golden.json": to_json(golden.record(queries, spaces, run.catalogue)),
    }
    description = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": run.provenance,
        "libraries": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "faiss": faiss.__version__,
        },
        "index": about,
    }
    return files, description


def _index_of(vectors: Floats, choice: str, queries: Floats) -> tuple[VectorIndex, float]:
    """The index over `vectors`, and the recall that `queries` find in it."""
    kth = kth_best(vectors, queries)
    index = index_of(vectors, choice, lambda made: recall(made, queries, kth))
    return index, recall(index, queries, kth)


def kth_best(vectors: Floats, queries: Floats, k: int = RECALL_AT) -> Floats:
    """[Q] the score of the true k-th best of `vectors` [N, D] for each of `queries` [Q, D].

    Of fewer vectors than `k` it is the last one's.
    """
    place = len(vectors) - min(k, len(vectors))
    scores = queries @ vectors.T  # [Q, N]
    scores.partition(place, axis=1)
    return scores[:, place].copy()


def recall(index: VectorIndex, queries: Floats, kth: Floats, k: int = RECALL_AT) -> float:
    """Share of the true best `k` that `index` finds, averaged over `queries`.

    A hit counts if it scores no less than the true k-th, so a tie is never a miss
    (as in ann-benchmarks, Aumueller et al., 2020).

    Args:
        index: What finds them.
        queries: [Q, D].
        kth: [Q] as `kth_best` has it for the same `k`.
        k: How many; fewer in a smaller catalogue.
    """
    k = min(k, index.size)
    found = index.search(queries, k).scores >= kth[:, None] - golden.TOLERANCE
    return float(found.mean())


def _within(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": contents for name, contents in files.items()}


def _npy(array: Floats) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()
