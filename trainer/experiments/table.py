"""What an evaluation found, for people and for programs."""

import math
from dataclasses import dataclass, field
from typing import Any

from deepmoviematch.data.dataset import Dataset
from deepmoviematch.trainer.recipe import Recipe


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

    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    """For each model what is too much for a row: "slices", and "ratios" and "differences" of ours and it."""

    failure: str = ""
    """Why the model must not be used, whatever its figures; empty where nothing is wrong."""

    @property
    def ours(self) -> dict[str, Any]:
        """The last row: what the others stand beside."""
        return self.rows[list(self.rows)[-1]]

    def to_json(self) -> dict[str, Any]:
        """The table as plain values; a figure that does not exist is None."""
        models = {model: row | self.details.get(model, {}) for model, row in self.rows.items()}
        values = self.about | {"models": models, "notes": list(self.notes)}
        if self.failure:
            values["failure"] = self.failure
        if self.honest:
            values["honest"] = self.honest.to_json()
        plain: dict[str, Any] = finite(values)
        return plain


def about(dataset: Dataset, protocol: str, recipe: Recipe) -> dict[str, Any]:
    """What every table says of itself."""
    return {
        "protocol": protocol,
        "dataset": dataset.name,
        "data_digest": dataset.digest,
        "recipe": recipe.to_dict(),
        "dropped": list(dataset.dropped),
    }


def finite(value: Any) -> Any:
    """`value` with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
