"""What approximate indexes share: when to trust them, and when every vector is compared after all.

An approximate search looks at a part of the vectors and may miss one. So it is asked only where
that part is small beside what an exact search would compare; where it finds too few, or where
results tie, every vector is compared, and `Hits.exact` says so. Symbols as in `vectors`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.indexer.search.vectors import (
    FlatIndex,
    Found,
    Hits,
    check_search,
    one_by_one,
    serialised,
    stay_on_one_thread,
)

COMPARED_UP_TO = 2000
"""Of so few vectors a search by comparison is no slower."""

FILTERED_UP_TO = 20_000
"""Of so few vectors those that a filter lets pass are found by comparison, the same by every backend."""


class ApproximateIndex(ABC):
    """Looks at a part of the vectors, and compares every one where that is safer."""

    kind: ClassVar[str]

    first_breadth: ClassVar[int]
    """`breadth` to begin with, and at least."""

    most_breadth: ClassVar[int]
    """No file may ask for more."""

    def __init__(self, index: Any, exact: FlatIndex) -> None:
        """Take FAISS's index, and exact search over the same vectors.

        Raises:
            GenerationError: If it would search less broadly than any does, or more than any may.
        """
        self._index = index
        self.exact, self.dim, self.size = exact, exact.dim, exact.size
        if not self.first_breadth <= self.breadth <= self.most_breadth:
            raise GenerationError(
                f"the breadth of a search must be {self.first_breadth} to {self.most_breadth}, "
                f"got {self.breadth}; make the index again"
            )

    @property
    @abstractmethod
    def breadth(self) -> int:
        """How much of the index a search looks at: the more, the slower and the surer."""

    @breadth.setter
    @abstractmethod
    def breadth(self, breadth: int) -> None: ...

    @abstractmethod
    def broaden(self) -> None:
        """Look at more from now on: the next step of `breadth`."""

    @abstractmethod
    def _find(self, queries: Floats, fetch: int, allowed: Selection | None) -> tuple[Any, Any]:
        """Scores and rows [B, fetch] of the best allowed rows that a search meets; -1 for no row."""

    @abstractmethod
    def _compared(self, k: int) -> int:
        """How many vectors a search for `k` compares with a query at least, about."""

    def compares_all(self, k: int, count: int | None = None) -> bool:
        """See `VectorIndex.compares_all`."""
        few = max(k, COMPARED_UP_TO, self._compared(k))
        if count is None:
            return self.size <= few
        return self.size <= FILTERED_UP_TO or count <= few

    def search(self, queries: Floats, k: int, *, allowed: Selection | None = None) -> Hits:
        """See `VectorIndex.search`."""
        check_search(self, queries, k, allowed)
        if self.compares_all(k, None if allowed is None else allowed.count):
            return self.exact.search(queries, k, allowed=allowed)
        stay_on_one_thread()
        scores, rows = self._find(np.ascontiguousarray(queries, dtype=np.float32), k + 1, allowed)
        unsure = (rows < 0).any(axis=1) | (scores[:, 1:] == scores[:, :-1]).any(axis=1)
        scores, rows = scores[:, :k], rows[:, :k]
        if unsure.any():  # too few were found, or some tie and others may tie with them
            exact = self.exact.search(queries[unsure], k, allowed=allowed)
            scores[unsure], rows[unsure] = exact.scores, exact.rows
        return Hits(scores, rows, exact=bool(unsure.all()))

    def nearest(
        self, queries: Floats, counts: Sequence[int], *, allowed: Selection | None = None
    ) -> list[Found]:
        """See `VectorIndex.nearest`."""
        return one_by_one(self, queries, counts, allowed)

    def to_bytes(self) -> bytes:
        """See `VectorIndex.to_bytes`."""
        return serialised(self._index)
