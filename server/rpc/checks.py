"""Checks fields of a request, and tells a caller of all that are at fault at once.

The bounds are the ones that recommender.proto states.
"""

from typing import TypeAlias

import numpy as np

from deepmoviematch.data.cells import MAX_ID_BYTES
from deepmoviematch.data.ratings import LOWEST_STARS, TOP_STARS
from deepmoviematch.server.errors import InvalidRequestError, Violation, shown
from deepmoviematch.server.rpc.tokens import Cursor

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 1000

UTF8_BYTES = 4
"""A character takes no more."""

Start: TypeAlias = Cursor | Violation | None
"""Where a request says that it goes on, or why its token is no good; None begins."""


class Checks:
    """Remembers every violation until the end."""

    __slots__ = ("_violations",)

    def __init__(self) -> None:
        """Begin without any."""
        self._violations: list[Violation] = []

    def refuse(self, field: str, rule: str) -> None:
        """Remember that `field` breaks `rule`, which says what it must be, what it was, and the cure."""
        self._violations.append(Violation(field, rule))

    def finish(self) -> None:
        """Give up if anything was at fault.

        Raises:
            InvalidRequestError: With every violation.
        """
        if self._violations:
            raise InvalidRequestError(self._violations)

    def page(self, size: int, start: Start) -> tuple[int, int, int]:
        """`limit`, `start` and `ahead` of a `Listing`."""
        if size < 0:
            self.refuse("page_size", f"must be 0 or more, got {size}; 0 means {DEFAULT_PAGE_SIZE}")
        limit = page_limit(size)
        if isinstance(start, Cursor):
            return limit, start.start, start.ahead
        if start is not None:
            self._violations.append(start)
        return limit, 0, 0

    def text(self, field: str, text: str, *, lowest: int = 1, highest: int = MAX_ID_BYTES) -> None:
        """Hold a text to `lowest` to `highest` bytes."""
        if lowest <= len(text) <= highest // UTF8_BYTES:
            return  # by far the most
        size = len(text.encode())
        if size < lowest:
            self.refuse(field, f"must be {lowest} to {highest} bytes, got none")
        elif size > highest:
            self.refuse(field, f"must be {lowest} to {highest} bytes, got {size}: {shown(text)}")

    def count(self, field: str, size: int, most: int) -> bool:
        """Hold a list of `size` entries to `most`; returns whether it keeps to that."""
        if size > most:
            self.refuse(field, f"must have at most {most} entries, got {size}")
        return size <= most

    def share(self, field: str, share: float) -> None:
        """Hold a number to 0 to 1."""
        if not 0 <= share <= 1:  # NaN is not either
            self.refuse(field, f"must be 0 to 1, got {number(share)}")

    def stars(self, field: str, stars: float) -> None:
        """Hold a number to the stars that there are."""
        if not LOWEST_STARS <= stars <= TOP_STARS:  # NaN is not either
            self.refuse(field, f"must be {LOWEST_STARS:g} to {TOP_STARS:g} stars, got {number(stars)}")


def page_limit(size: int) -> int:
    """How many results a page of `size` has at most; one of a negative size, which is at fault, has none."""
    return min(max(size or DEFAULT_PAGE_SIZE, 0), MAX_PAGE_SIZE)


def number(value: float) -> str:
    """`value` in the fewest digits that tell it from all others on the wire: 1.0000001 is not 1."""
    return str(np.float32(value)).removesuffix(".0")
