"""Follows the experiments of a store: loads the generations that they name, and drops what has ended."""

import logging
from collections.abc import Mapping
from pathlib import Path

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.indexer.experiments import CURRENT, FILE, Experiment, check_scales
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.generations.cache import load
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.generations.watched import Watched
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.telemetry.logs import log_event

log = logging.getLogger(__name__)


class Experiments:
    """Keeps a `Current` at what the store's experiments say.

    An experiment of which a generation fails a check runs for none of its users, for the others would
    be no fair sample, and is tried again later. So is one whose generations take ratings of different
    scales, as another current one may bring about.
    """

    def __init__(self, store: Path, current: Current) -> None:
        """Prepare to follow the experiments of `store`."""
        self._store, self._current = Store(store), current
        self._file = Watched(store / FILE)
        self._beside: Recommender | None = None
        self._refused: dict[str, str] = {}
        self.refusals = 0
        """Experiments that could not run; the same one for the same reason counts once."""

    def poll(self) -> None:
        """Look at the file once; heed it if it or the current generation changed, or for a retry."""
        latest = self._current.latest
        if latest is None or not (self._file.is_due() or latest is not self._beside):
            return
        self._beside = latest
        try:
            refused = self._heed(self._store.experiments())
        except Exception as error:  # whatever a hostile file provokes, what ran before goes on
            refused = {FILE: error}
        if refused:
            self._file.retry_later()
        reasons = {name: str(error) for name, error in refused.items()}
        for name, reason in reasons.items() - self._refused.items():
            self.refusals += 1
            bug = None if isinstance(refused[name], MovieMatchError) else refused[name]
            facts = {"experiment": name, "reason": repr(bug) if bug else reason}
            log_event(log, logging.ERROR, "experiment refused", facts, exc_info=bug)
        self._refused = reasons

    def _heed(self, named: Mapping[str, Experiment]) -> dict[str, Exception]:
        """Let those of the experiments run that can; returns why others cannot."""
        serving = self._current.serving
        refused: dict[str, Exception] = {}
        running: dict[str, Experiment] = {}
        held: dict[str, Recommender] = {}
        for name, experiment in named.items():
            try:
                for generation in sorted(experiment.generations - held.keys()):
                    found = self._current.at_hand(generation) or load(self._store, generation)
                    found.make_ready_as(serving.recommender)
                    held[generation] = found
                answering = [
                    serving.recommender if variant.generation == CURRENT else held[variant.generation]
                    for variant in experiment.variants
                ]
                check_scales([recommender.generation.scale for recommender in answering])
                running[name] = experiment
            except Exception as error:
                refused[name] = error
        if running != serving.experiments or held.keys() != serving.held.keys():
            self._current.set_experiments(running, held)
            log_event(log, logging.INFO, "experiments", {"running": [*running]})
        return refused
