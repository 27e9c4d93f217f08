"""The generations besides the current one, for whoever still walks through their pages.

The last few that answered stay in memory. Others are loaded from the store when a page token names
one, and verified as ever; one at a time, so that no more than one thread is kept from other calls.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.indexer.errors import StoreError
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.errors import GenerationGoneError, GenerationLoadingError
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.telemetry.logs import log_event

SIZE = 2
"""Generations that stay in memory besides the current one."""

log = logging.getLogger(__name__)


class GenerationCache:
    """A few recommenders by the id of their generation; the one that was not used for longest goes first."""

    def __init__(self, store: Store | None = None) -> None:
        """Take others from `store`, if there is one."""
        self._store = store
        self._held: OrderedDict[str, Recommender] = OrderedDict()
        self._lock = threading.Lock()
        self._turn = threading.Lock()

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
        if self._store is None or generation_id not in _listed(self._store, generation_id):
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
            _log_refusal(generation_id, error)
            raise GenerationGoneError(generation_id) from error
        self.put(recommender)
        ms = round(1e3 * (time.perf_counter() - started))
        log_event(log, logging.INFO, "generation for pages", {"generation": generation_id, "ms": ms})
        return recommender


def load(store: Store, generation_id: str) -> Recommender:
    """Load and verify a generation.

    Raises:
        StoreError: If there is no such generation.
        GenerationError: If it fails a check.
    """
    return Recommender(store.load(generation_id))


def _listed(store: Store, generation_id: str) -> Sequence[str]:
    """What the store has; if that cannot be told just now, whoever asks for a generation may ask again."""
    try:
        return store.list()
    except StoreError as error:
        _log_refusal(generation_id, error)
        raise GenerationLoadingError(generation_id) from error


def _log_refusal(generation_id: str, error: MovieMatchError) -> None:
    facts = {"generation": generation_id, "reason": str(error)}
    log_event(log, logging.ERROR, "generation refused", facts)
