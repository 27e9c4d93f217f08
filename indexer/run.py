"""What a training run leaves: the towers, and what they were trained on.

Symbols: `N` items.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.data.weights import SETTINGS, Weights
from deepmoviematch.indexer import manifest
from deepmoviematch.indexer.errors import GenerationError

PROVENANCE = (
    "code_version",
    "created",
    "data_digest",
    "dataset",
    "libraries",
    "metrics",
    "recipe",
    "scale",
    "seed",
)
"""What a run's manifest must say, and its generation's repeats."""


def rating_head_of(folder: Path, files: Mapping[str, Any]) -> Weights | None:
    """The rating head in a folder whose manifest lists `files`; None if these do not have one."""
    return Weights.load(folder / "rating_head") if f"rating_head/{SETTINGS}" in files else None


@dataclass(frozen=True, eq=False)
class Run:
    """A complete training run, its files checked against their hashes."""

    provenance: dict[str, Any]
    """Recipe, seed, data and code it came from; offline metrics; the scale of its ratings."""

    catalogue: Catalogue
    """N items."""

    user_tower: Weights
    item_tower: Weights

    popularity: Floats
    """[N] share of the training users who liked each item."""

    reference: dict[str, Any]
    """Distribution of features and scores in training, and sample users."""

    rating_head: Weights | None = None
    """What predicts ratings, if anything does."""

    @classmethod
    def load(cls, folder: Path) -> "Run":
        """Read the run in `folder` and check it.

        Raises:
            GenerationError: If the run is incomplete, damaged or of another format.
        """
        try:
            return cls._load(folder)
        except MovieMatchError as error:
            raise GenerationError(f"{folder}: {error}") from error
        except Exception as error:  # whatever its files provoke
            raise GenerationError(f"{folder}: a run must be readable, got {error!r}") from error

    @classmethod
    def _load(cls, folder: Path) -> "Run":
        values = manifest.read(folder, "run")
        if missing := [key for key in PROVENANCE if key not in values]:
            raise GenerationError(
                f"manifest.json must say {', '.join(PROVENANCE)}, got no {', '.join(missing)}"
            )
        for key in ("metrics", "recipe", "scale"):
            if not isinstance(values[key], dict):
                raise GenerationError(f"manifest.json must say {key} by name, got {values[key]!r:.100}")
        for name, sha256 in values["files"].items():
            manifest.check_file(folder, name, sha256)
        return cls(
            provenance={key: values[key] for key in PROVENANCE},
            catalogue=Catalogue.from_json(manifest.read_json(folder / "catalogue.json")),
            user_tower=Weights.load(folder / "user_tower"),
            item_tower=Weights.load(folder / "item_tower"),
            popularity=np.load(folder / "popularity.npy", allow_pickle=False),
            reference=manifest.read_json(folder / "reference.json"),
            rating_head=rating_head_of(folder, values["files"]),
        )
