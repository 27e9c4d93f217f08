"""Follows the store, on a thread of its own, to replace what answers: loads, checks, and only then flips."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.indexer.errors import StoreError
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.generations.cache import load
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.experiments import Experiments
from deepmoviematch.server.generations.watched import Watched
from deepmoviematch.server.telemetry.logs import log_event

POLL_S = 0.5

log = logging.getLogger(__name__)


class Follower:
    """Keeps a `Current` at the generation that the store calls current, and at the store's experiments."""

    def __init__(self, store: Path, current: Current, *, on_ready: Callable[[], None]) -> None:
        """Prepare to follow.

        Args:
            store: Folder of the store; generations may appear in it later.
            current: Where the loaded generation goes.
            on_ready: Called each time that a generation begins to serve.
        """
        self._store = Store(store)
        self._pointer = Watched(store / "CURRENT")
        self._current = current
        self.experiments = Experiments(store, current)
        self._on_ready = on_ready
        self._refused: tuple[str | None, str] | None = None
        self.loads = 0
        """Generations that began to serve."""
        self._refusals = 0
        self._stop = threading.Event()
        self._clock: int | None = None  # of the thread's processor time
        self._took_s = 0.0  # what it said last
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def start(self) -> None:
        """Begin to follow, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following; a load under way is finished first."""
        self._stop.set()
        self._thread.join()

    def poll(self) -> None:
        """Look at the store once; load what it calls for if that changed or is due for a retry."""
        if self._pointer.is_due():
            self._follow_pointer()
        self.experiments.poll()

    def _follow_pointer(self) -> None:
        wanted: str | None = None
        try:
            wanted = self._store.current()
            if wanted is None and self._store.list():  # else nothing was published yet
                wanted = self._store.current_or_refuse()
            if wanted is not None and wanted != self._current.generation_id:
                self._load(wanted)
            self._refused = None
        except Exception as error:
            # Whatever a hostile folder provokes, the thread lives on and so does the old generation.
            known = isinstance(error, MovieMatchError)
            self._refuse(wanted, str(error) if known else repr(error), exc_info=not known)
            if self._current.generation_id is None:
                self._fall_back(wanted)

    @property
    def refusals(self) -> int:
        """Generations that failed a check, also those for later pages; each once for a reason, or a while."""
        return self._refusals + self._current.refusals

    def thread_s(self) -> float:
        """Seconds of processor time that its thread has taken, to its end if it has ended."""
        clock = self._clock
        if clock is not None:
            with suppress(OSError):  # it has
                self._took_s = time.clock_gettime(clock)
        return self._took_s

    def _follow(self) -> None:
        if hasattr(time, "pthread_getcpuclockid"):  # not on macOS
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self.poll()
        while not self._stop.wait(POLL_S):
            self.poll()

    def _load(self, wanted: str, *, in_place_of: str | None = None) -> None:
        started = time.perf_counter()
        latest = self._current.latest
        recommender = self._current.at_hand(wanted) or load(self._store, wanted)
        if latest is not None:
            recommender.make_ready_as(latest)
        replaced = self._current.generation_id
        self._current.set(recommender)
        self.loads += 1
        self._on_ready()
        facts = {
            "generation": wanted,
            "items": len(recommender.generation.catalogue),
            "replaced": replaced,
            "ms": round(1e3 * (time.perf_counter() - started)),
        }
        if in_place_of is not None:
            facts["in_place_of"] = in_place_of
        log_event(log, logging.INFO, "generation", facts)

    def _fall_back(self, refused: str | None) -> None:
        """Begin with the newest whole generation before the refused one.

        A process that starts while the current one is damaged then answers like those
        that had started before.
        """
        names: Sequence[str] = ()
        with suppress(StoreError):  # which the refusal has named
            names = self._store.list()
        older = names[: names.index(refused)] if refused in names else names
        for name in reversed(older):
            try:
                self._load(name, in_place_of=refused or "a missing or unreadable pointer")
            except MovieMatchError:
                continue  # the log has a refusal already, and this one is not asked for
            except Exception:
                log.exception("a bug in loading %s", name)
                continue
            return

    def _refuse(self, wanted: str | None, reason: str, *, exc_info: bool = False) -> None:
        self._pointer.retry_later()
        if self._refused == (wanted, reason):
            return
        self._refused = (wanted, reason)
        self._refusals += 1
        facts = {"generation": wanted, "reason": reason, "serving": self._current.generation_id}
        log_event(log, logging.ERROR, "generation refused", facts, exc_info=exc_info)
