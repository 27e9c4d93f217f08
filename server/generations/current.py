"""Holds the one reference to what answers: requests see the old state of the store or the new one, whole."""

import threading
from collections.abc import Mapping
from pathlib import Path

from deepmoviematch.indexer.experiments import Experiment
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.errors import NotReadyError
from deepmoviematch.server.generations.cache import GenerationCache
from deepmoviematch.server.generations.serving import Serving
from deepmoviematch.server.ranking.recommender import Recommender


class Current:
    """What answers, once there is a generation, and the recommenders of some others."""

    def __init__(self, store: Path | None = None) -> None:
        """Take other generations than the current one from `store` too, if there is one."""
        self._serving: Serving | None = None
        self._cache = GenerationCache(None if store is None else Store(store))
        self._flipping = threading.Lock()  # what serves and what is cached change together

    @property
    def serving(self) -> Serving:
        """What to answer a request with, from beginning to end.

        Raises:
            NotReadyError: If no generation is loaded yet.
        """
        if (serving := self._serving) is None:
            raise NotReadyError
        return serving

    def get(self, generation_id: str) -> Recommender:
        """The recommender of the generation that a request goes on with.

        Raises:
            GenerationGoneError: If it is there no more.
            GenerationLoadingError: If it has to be loaded, and another one is being loaded just now, or the
                store cannot be read.
        """
        return self.at_hand(generation_id) or self._cache.get(generation_id)

    def at_hand(self, generation_id: str) -> Recommender | None:
        """The recommender of a generation, if it is in memory."""
        with self._flipping:
            serving = self._serving
            found = None if serving is None else serving.find(generation_id)
            return found or self._cache.find(generation_id)

    def set(self, recommender: Recommender) -> None:
        """Answer with `recommender` from the next request on."""
        before = self._serving
        if before is None:
            self._serving = Serving(recommender)
        else:
            self._flip(before, before._replace(recommender=recommender))

    def set_experiments(self, running: Mapping[str, Experiment], held: Mapping[str, Recommender]) -> None:
        """Heed experiments from the next request on; see `Serving`."""
        self._flip(self.serving, self.serving._replace(experiments=running, held=held))

    def _flip(self, before: Serving, after: Serving) -> None:
        """Serve `after`; what it has no more stays at hand for whoever walks through its pages."""
        with self._flipping:
            for recommender in (after.recommender, *after.held.values()):
                self._cache.drop(recommender.generation.id)
            for recommender in (before.recommender, *before.held.values()):
                if after.find(recommender.generation.id) is None:
                    self._cache.put(recommender)
            self._serving = after

    @property
    def refusals(self) -> int:
        """How often a generation for later pages could not be had."""
        return self._cache.refusals

    @property
    def latest(self) -> Recommender | None:
        """The recommender of the current generation, if there is one."""
        return None if self._serving is None else self._serving.recommender

    @property
    def generation_id(self) -> str | None:
        """The current generation, if there is one."""
        return None if self._serving is None else self._serving.recommender.generation.id
