"""Files of a store that are always replaced as a whole."""

import math
import time
from pathlib import Path

RETRY_S = 10.0
"""How long to leave alone what was refused: a copy in progress may complete it."""


class Watched:
    """One such file."""

    def __init__(self, path: Path) -> None:
        """Watch `path`, where nothing has been seen yet."""
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._retry_at = -math.inf

    def is_due(self) -> bool:
        """Whether it changed, came or went since it was due the last time; also at first, and for a retry."""
        signature = self._signature()
        if signature == self._seen and time.monotonic() < self._retry_at:
            return False
        self._seen, self._retry_at = signature, math.inf
        return True

    def retry_later(self) -> None:
        """Be due again after a while, as it is."""
        self._retry_at = time.monotonic() + RETRY_S

    def _signature(self) -> tuple[int, int, int] | None:
        """What changes whenever the file is replaced; None if there is none."""
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size
