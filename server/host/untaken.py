"""Replies that gRPC was given and whose callers have not taken them yet.

It holds them for as long as their callers like, and a caller who makes no room for what it asked for would
fill the memory. Honest callers take a reply at once, so where there is too much the oldest makes room.
"""

import threading
from collections.abc import Callable
from typing import Protocol

MOST_BYTES = 64 << 20
"""So much is held, or one reply that is larger."""

LEAST_BYTES = 4096
"""Smaller ones are not counted: a call holds more than that anyway, and counting takes 1 % of its time."""


class Answered(Protocol):
    """A call that was answered."""

    def cancel(self) -> None:
        """End it, whether or not its reply was taken."""


class Untaken:
    """Knows the calls whose replies are on their way; any thread may tell it."""

    def __init__(self, dropped: Callable[[], None]) -> None:
        """Begin without any.

        Args:
            dropped: Asked for each call that has made room.
        """
        self._dropped = dropped
        self._sizes: dict[Answered, int] = {}  # in bytes, the oldest first
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, call: Answered, size: int) -> None:
        """Know that a call is about to be answered with a reply of `size` bytes."""
        dropped = []
        with self._lock:
            self._sizes[call] = size
            self._bytes += size
            while self._bytes > MOST_BYTES and len(self._sizes) > 1:
                oldest = next(iter(self._sizes))
                self._bytes -= self._sizes.pop(oldest)
                dropped.append(oldest)
        for each in dropped:
            self._dropped()
            each.cancel()

    def remove(self, call: Answered) -> None:
        """Know that a call has ended, if it is known at all."""
        with self._lock:
            self._bytes -= self._sizes.pop(call, 0)
