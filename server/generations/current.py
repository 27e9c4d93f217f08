"""Holds the one reference to what answers, and follows the store to replace it.

Loading and checking happen on a thread of their own; requests see either the old
recommender or the new one, whole. What answers the users of experiments goes the same way.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.indexer import experiments
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.errors import NotReadyError
from deepmoviematch.server.generations.arms import Arms, load_arms
from deepmoviematch.server.generations.cache import GenerationCache, load
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.telemetry.logs import log_event

POLL_S = 0.5
RETRY_S = 10.0
"""How long to leave a refused generation alone: a copy in progress may complete it."""

log = logging.getLogger(__name__)


class Current:
    """The recommender of the current generation, once there is one, and those of some others."""

    def __init__(self, store: Path | None = None) -> None:
        """Take other generations than the current one from `store` too, if there is one."""
        self._recommender: Recommender | None = None
        self.arms = Arms()
        """What answers the users of experiments."""
        self._cache = GenerationCache(None if store is None else Store(store))

    def get(self, generation_id: str | None = None) -> Recommender:
        """What to answer a request with, from beginning to end.

        Args:
            generation_id: The generation that the request goes on with; None for the current one.

        Raises:
            NotReadyError: If no generation is loaded yet.
            GenerationGoneError: If the one asked for is there no more.
            GenerationLoadingError: If it has to be loaded, and another one is being loaded.
        """
        recommender = self._recommender
        if recommender is None:
            raise NotReadyError
        if generation_id in (None, recommender.generation.id):
            return recommender
        return self.arms.held.get(generation_id) or self._cache.get(generation_id)

    def set(self, recommender: Recommender) -> None:
        """Answer with `recommender` from the next request on."""
        replaced, self._recommender = self._recommender, recommender
        if replaced is not None:
            self._cache.put(replaced)

    def set_arms(self, arms: Arms) -> None:
        """Answer the users of experiments with `arms` from the next request on."""
        replaced, self.arms = self.arms, arms
        for name in replaced.held.keys() - arms.held.keys():
            self._cache.put(replaced.held[name])

    @property
    def latest(self) -> Recommender | None:
        """What answers, if anything."""
        return self._recommender

    @property
    def generation_id(self) -> str | None:
        """The generation that answers, if any."""
        return None if self._recommender is None else self._recommender.generation.id


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
        self._pointer, self._experiments = _Watched(store / "CURRENT"), _Watched(store / experiments.FILE)
        self._current = current
        self._on_ready = on_ready
        self._refused: tuple[str | None, str] | None = None
        self._refused_arms: dict[str, str] = {}
        self.loads = 0
        """Generations that began to serve."""
        self.refusals = 0
        """Generations and experiments that failed a check; the same one for the same reason counts once."""
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
        latest = self._current.latest
        if latest is not None and self._experiments.is_due():
            self._follow_experiments(latest)

    def _follow_pointer(self) -> None:
        wanted: str | None = None
        try:
            wanted = self._store.current()
            if wanted is not None and wanted != self._current.generation_id:
                self._load(wanted)
            self._refused = None
        except Exception as error:
            # Whatever a hostile folder provokes, the thread lives on and so does the old generation.
            known = isinstance(error, MovieMatchError)
            self._refuse(wanted, str(error) if known else repr(error), exc_info=not known)
            if self._current.generation_id is None:
                self._fall_back(wanted)

    def _follow_experiments(self, latest: Recommender) -> None:
        refused: dict[str, str] = {}
        try:
            arms, refused = load_arms(self._store, self._current.arms, latest)
            self._current.set_arms(arms)
            log_event(log, logging.INFO, "experiments", {"running": arms.names})
        except Exception as error:  # what ran before goes on
            refused = {"": str(error) if isinstance(error, MovieMatchError) else repr(error)}
        for name, reason in refused.items() - self._refused_arms.items():
            self.refusals += 1
            log_event(log, logging.ERROR, "experiment refused", {"experiment": name, "reason": reason})
        if refused:
            self._experiments.retry_later()
        self._refused_arms = refused

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
        recommender = load(self._store, wanted, before=self._current.latest)
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
        with suppress(OSError):  # which the refusal has named
            names = self._store.list()
        older = names[: names.index(refused)] if refused in names else names
        for name in reversed(older):
            try:
                self._load(name, in_place_of=refused or "an unreadable pointer")
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
        self.refusals += 1
        facts = {"generation": wanted, "reason": reason, "serving": self._current.generation_id}
        log_event(log, logging.ERROR, "generation refused", facts, exc_info=exc_info)


class _Watched:
    """A file that is always replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._retry_at = math.inf

    def is_due(self) -> bool:
        """Whether it was replaced since the last time that it was due, or is to be tried again."""
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
