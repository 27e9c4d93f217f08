"""The kinds of vector index that there are, and which to take."""

from collections.abc import Callable

from deepmoviematch.data.arrays import Floats
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.approximate import ApproximateIndex
from deepmoviematch.indexer.search.hnsw import HnswIndex
from deepmoviematch.indexer.search.ivf import IvfIndex
from deepmoviematch.indexer.search.vectors import Contents, FlatIndex, VectorIndex

KINDS: dict[str, Callable[[Contents, int, int], VectorIndex]] = {
    FlatIndex.kind: FlatIndex.from_bytes,
    IvfIndex.kind: IvfIndex.from_bytes,
    HnswIndex.kind: HnswIndex.from_bytes,
}
"""How to restore each kind of index from contents, D and N."""

CHOICES = ("auto", "exact", "ivf", "hnsw")

EXACT_UP_TO = 20_000
"""Items: up to here "auto" is exact search."""

ENOUGH_RECALL = 0.995
"""An approximate index is made to search more broadly until it finds this share of the true best."""


def restore(kind: str, contents: Contents, *, dim: int, size: int) -> VectorIndex:
    """Build the index that `VectorIndex.to_bytes` wrote.

    Args:
        kind: The backend's name.
        contents: What may be hostile: nothing of it is believed.
        dim: The width that the vectors must have.
        size: The number of vectors that there must be.

    Raises:
        GenerationError: If the kind is unknown or the contents are not such an index.
    """
    if kind not in KINDS:
        raise GenerationError(
            f"an index must be one of {', '.join(KINDS)}, got {kind!r}; it may come from a newer version"
        )
    return KINDS[kind](contents, dim, size)


def index_of(vectors: Floats, choice: str, recall: Callable[[VectorIndex], float]) -> VectorIndex:
    """The index over `vectors` [N, D].

    Args:
        vectors: What to search.
        choice: One of `CHOICES`; "auto" goes by their number: lists, where they are many, for users lie
            between items, and there a graph loses its way (recall of 0.7 where lists have 0.998).
        recall: Measures the share of the true best that an index finds.
    """
    if choice == "exact" or (choice == "auto" and len(vectors) <= EXACT_UP_TO):
        return FlatIndex.of(vectors)
    index: ApproximateIndex = HnswIndex.of(vectors) if choice == HnswIndex.kind else IvfIndex.of(vectors)
    while recall(index) < ENOUGH_RECALL and 4 * index.breadth <= index.most_breadth:
        index.broaden()
    index.broaden()  # recall is measured on a few dozen users, and others may be harder
    return index
