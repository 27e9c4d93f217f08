"""The generations besides the current one, for whoever still walks through their pages.

The last few that answered stay in memory. Others are loaded from the store when a page token names
one, and verified as ever; one at a time, so that no more than one thread is kept from other calls. What
is damaged is left alone for a while, lest callers decide how often it is read and the log says so.
"""

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.indexer.errors import StoreError
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.errors import GenerationGoneError, GenerationLoadingError
from deepmoviematch.server.generations.watched import RETRY_S
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.telemetry.logs import log_event

SIZE = 2
"""Generations that stay in memory besides the current one."""

_STORE = ""
"""In place of a generation's id: the store itself."""

log = logging.getLogger(__name__)


class GenerationCache:
    """A few recommenders by the id of their generation; the one that was not used for longest goes first."""

    def __init__(self, store: Store | None = None) -> None:
        """Take others from `store`, if there is one."""
        self._store = store
        self._held: OrderedDict[str, Recommender] = OrderedDict()
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._refused_until: dict[str, float] = {}  # by what is wrong: a generation, or the store
        self.refusals = 0
        """How often a generation could not be had; no more than once in `RETRY_S`."""

    def put(self, recommender: Recommender) -> None:
        """Hold `recommender`, in place of another if need be."""
        with self._lock:
            self._held[recommender.generation.id] = recommender
            self._held.move_to_end(recommender.generation.id)
            while len(self._held) > SIZE:
                self._held.popitem(last=False)

    def drop(self, generation_id: str) -> None:
        """Hold the recommender of a generation no longer, if it is held."""
        with self._lock:
            self._held.pop(generation_id, None)

    def get(self, generation_id: str) -> Recommender:
        """The recommender of a generation that served before.

        Raises:
            GenerationGoneError: If it is neither held nor, whole, in the store.
            GenerationLoadingError: If some generation is being loaded just now, or the store cannot be read.
        """
        if (held := self.find(generation_id)) is not None:
            return held
        if (
            self._store is None
            or self._is_refused(generation_id)
            or generation_id not in self._listed(self._store, generation_id)
        ):
            raise GenerationGoneError(generation_id)
        if not self._turn.acquire(blocking=False):
            raise GenerationLoadingError(generation_id)
        try:
            return self.find(generation_id) or self._load(self._store, generation_id)
        finally:
            self._turn.release()

    def find(self, generation_id: str) -> Recommender | None:
        """The recommender of a generation, if it is held."""
        with self._lock:
            if generation_id in self._held:
                self._held.move_to_end(generation_id)
            return self._held.get(generation_id)

    def _load(self, store: Store, generation_id: str) -> Recommender:
        started = time.perf_counter()
        try:
            recommender = load(store, generation_id)
        except MovieMatchError as error:  # damaged, or collected meanwhile
            self._refuse(generation_id, generation_id, error)
            raise GenerationGoneError(generation_id) from error
        self.put(recommender)
        ms = round(1e3 * (time.perf_counter() - started))
        log_event(log, logging.INFO, "generation for pages", {"generation": generation_id, "ms": ms})
        return recommender

    def _listed(self, store: Store, generation_id: str) -> Sequence[str]:
        """What the store has; if that cannot be told just now, whoever asks may ask again."""
        try:
            return store.list()
        except StoreError as error:
            if not self._is_refused(_STORE):
                self._refuse(_STORE, generation_id, error)
            raise GenerationLoadingError(generation_id) from error

    def _is_refused(self, what: str) -> bool:
        return time.monotonic() < self._refused_until.get(what, -math.inf)

    def _refuse(self, what: str, generation_id: str, error: MovieMatchError) -> None:
        with self._lock:
            self._refused_until[what] = time.monotonic() + RETRY_S
            self.refusals += 1
        facts = {"generation": generation_id, "reason": str(error)}
        log_event(log, logging.ERROR, "generation refused", facts)


def load(store: Store, generation_id: str) -> Recommender:
    """Load and verify a generation.

    Raises:
        StoreError: If there is no such generation.
        GenerationError: If it fails a check.
    """
    return Recommender(store.load(generation_id))
