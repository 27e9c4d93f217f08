"""What answers at one instant: the current generation, and those that experiments give to some users."""

from collections.abc import Mapping
from typing import NamedTuple

from deepmoviematch.indexer.experiments import CURRENT, Experiment, Variant
from deepmoviematch.server.ranking.recommender import Recommender


class Serving(NamedTuple):
    """Never changes; whoever takes hold of one sees one state of the store."""

    recommender: Recommender
    """That of the current generation."""

    experiments: Mapping[str, Experiment] = {}
    """Those that run, by name."""

    held: Mapping[str, Recommender] = {}
    """Those of all generations that experiments name, by id; also of experiments that cannot run yet."""

    def variant_of(self, experiment: str, user_id: str) -> Variant | None:
        """What a user gets as part of an experiment; None where no such experiment runs."""
        found = self.experiments.get(experiment)
        return None if found is None else found.variant_of(user_id)

    def answering(self, variant: Variant | None) -> Recommender:
        """What answers the users of a variant, or those of none."""
        if variant is None or variant.generation == CURRENT:
            return self.recommender
        return self.held[variant.generation]

    def find(self, generation_id: str) -> Recommender | None:
        """The recommender of a generation, if it is one of these."""
        if generation_id == self.recommender.generation.id:
            return self.recommender
        return self.held.get(generation_id)
