"""What answers the users of experiments: the generations that these name, loaded for as long as they run."""

from collections.abc import Mapping
from typing import NamedTuple

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.indexer.experiments import CURRENT, Experiment
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.generations.cache import load
from deepmoviematch.server.ranking.recommender import Recommender


class Arm(NamedTuple):
    """What a user of an experiment gets."""

    experiment: str
    variant: str
    recommender: Recommender | None
    """None is that of the current generation."""


class Arms:
    """Experiments at one instant, with the recommender of each generation that they name; never changes."""

    def __init__(
        self,
        experiments: Mapping[str, Experiment] | None = None,
        held: Mapping[str, Recommender] | None = None,
    ) -> None:
        """Take experiments by name, and recommenders by the id of their generation."""
        self._experiments, self.held = experiments or {}, held or {}

    @property
    def names(self) -> list[str]:
        """Of the experiments."""
        return [*self._experiments]

    def find(self, experiment: str, user_id: str) -> Arm | None:
        """What a user gets as part of an experiment; None if no such experiment runs."""
        found = self._experiments.get(experiment)
        if found is None:
            return None
        variant = found.variant_of(user_id)
        recommender = None if variant.generation == CURRENT else self.held[variant.generation]
        return Arm(experiment, variant.name, recommender)


def load_arms(store: Store, before: Arms, current: Recommender) -> tuple[Arms, dict[str, str]]:
    """What is to be had of the experiments that the store names.

    An experiment of which a generation fails a check does not run, for any of its users: the rest of
    them would be no fair sample.

    Args:
        store: Names them, and has the generations.
        before: What of these is loaded already.
        current: What else is.

    Returns:
        The arms, and for each experiment that cannot run why.

    Raises:
        StoreError: If the store's experiments cannot be read.
    """
    held = {**before.held, current.generation.id: current}
    running: dict[str, Experiment] = {}
    refused: dict[str, str] = {}
    for name, experiment in store.experiments().items():
        try:
            for generation in experiment.generations - held.keys():
                held[generation] = load(store, generation, before=current)
            running[name] = experiment
        except MovieMatchError as error:
            refused[name] = str(error)
    wanted = frozenset[str]().union(*(experiment.generations for experiment in running.values()))
    return Arms(running, {name: held[name] for name in wanted}), refused
