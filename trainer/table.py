"""What an evaluation found, for people and for programs."""

from dataclasses import dataclass
from typing import Any

from deepmoviematch.data.tables import Dataset

from .recipe import Recipe


@dataclass(frozen=True)
class Table:
    """A row of figures for every model."""

    about: dict[str, Any]
    """The protocol, the data, the splits and the seeds."""

    rows: dict[str, dict[str, Any]]
    """For each model its figures by name; an interval is {"mean", "low", "high"}."""

    notes: tuple[str, ...] = ()
    """What a reader has to know to read the figures right."""

    honest: "Table | None" = None
    """The same question without what makes this one flatter, where something does."""

    def to_json(self) -> dict[str, Any]:
        """The table as plain values."""
        values = self.about | {"models": self.rows, "notes": list(self.notes)}
        return values | ({"honest": self.honest.to_json()} if self.honest else {})


def about(dataset: Dataset, protocol: str, recipe: Recipe) -> dict[str, Any]:
    """What every table says of itself."""
    return {
        "protocol": protocol,
        "dataset": dataset.name,
        "data_digest": dataset.digest,
        "recipe": recipe.to_dict(),
        "dropped": list(dataset.dropped),
    }
