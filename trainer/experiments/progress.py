"""Says on standard error what an evaluation is doing: it takes minutes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console


class Progress:
    """A line for each model that was measured; on a terminal also one for the model that is."""

    def __init__(self, question: str) -> None:
        """Name what the models are asked."""
        self._question, self._console = question, Console(stderr=True)

    @contextmanager
    def doing(self, model: str, *, live: bool) -> Iterator[None]:
        """Report the time that the block takes; `live` where it shows no progress of its own."""
        started = time.perf_counter()
        waiting = live and self._console.is_terminal
        with self._console.status(f"{self._question}: {model}") if waiting else nullcontext():
            yield
        line = f"{self._question}: {model}, {time.perf_counter() - started:.1f} s"
        self._console.print(line, highlight=False, soft_wrap=True)
