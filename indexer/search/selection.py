"""Which rows a search may return, and what searches need to know of them, worked out once."""

from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any

import faiss
import numpy as np

from deepmoviematch.data.arrays import Flags, Longs


class Selection:
    """Some of N rows; nobody may change them."""

    def __init__(self, flags: Flags) -> None:
        """Take [N] which rows they are."""
        self.flags = flags

    def __and__(self, other: "Selection") -> "Selection":
        """The rows that both have."""
        return Selection(self.flags & other.flags)

    def among(self, rows: AbstractSet[int]) -> set[int]:
        """Those of `rows` that are selected."""
        return {row for row in rows if self.flags[row]}

    @cached_property
    def count(self) -> int:
        """How many they are."""
        return int(np.count_nonzero(self.flags))

    @cached_property
    def rows(self) -> Longs:
        """[count] the rows, in ascending order."""
        return np.flatnonzero(self.flags)

    @cached_property
    def selector(self) -> Any:
        """FAISS's way to say so."""
        bitmap = np.packbits(self.flags, bitorder="little")
        return faiss.IDSelectorBitmap(bitmap)  # type: ignore[call-arg, arg-type]  # stub of the C++ one
