"""Catalogues of any size with towers of the default recipe's shape, made up.

Items fall into clusters, as real ones do: without any structure all vectors are
nearly as far from each other, which no index of neighbours can make use of.
"""

import itertools
from pathlib import Path

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.features import SUMMARIES
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.build import bundle
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.run import PROVENANCE, Run
from deepmoviematch.indexer.store import Store

WIDTH, HIDDEN = 64, (256, 128)
GENRES = 18
SPREAD = 0.5
"""Distance of an item from the centre of its cluster, whose own length is about 1."""


def clustered(random: np.random.Generator, size: int, dim: int = WIDTH) -> Floats:
    """[size, dim] float32 unit vectors around about sqrt(size) centres."""
    centres = random.normal(size=(max(1, round(size**0.5)), dim)) / dim**0.5
    vectors = centres[random.integers(len(centres), size=size)]
    vectors += random.normal(size=(size, dim)) * SPREAD / dim**0.5
    units: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return units


def catalogue(random: np.random.Generator, size: int) -> Catalogue:
    """`size` films with titles as long as real ones are."""
    return Catalogue(
        item_ids=tuple(str(number) for number in range(1, size + 1)),
        titles=tuple(f"The Film That Has Number {number}" for number in range(1, size + 1)),
        years=random.integers(1930, 2020, size=size).astype(np.int32),
        genre_names=tuple(f"Genre {number}" for number in range(GENRES)),
        genres=random.random((size, GENRES)) < 0.1,
    )


def run(size: int, *, seed: int) -> Run:
    """What a trainer would leave for a catalogue of `size` items."""
    random = np.random.default_rng(seed)
    items = clustered(random, size)
    users = {
        "likes": items,
        "alone": items,
        "others": -items,
        "bag": items,
        "recent": items,
        **_mlp(random, "deep", 2 * WIDTH + GENRES + 2),
        **_mlp(random, "taste", GENRES),
        **_mlp(random, "next", SUMMARIES * WIDTH),
    }
    histories = random.integers(size, size=(32, 5))
    return Run(
        provenance=dict.fromkeys(PROVENANCE, "synthetic")
        | {"libraries": {}, "metrics": {}, "seed": seed, "scale": {"low": 0.5, "top": 5.0}},
        catalogue=catalogue(random, size),
        user_tower=Weights({"kind": "taste", "gate": 0.5}, users),
        item_tower=Weights(
            {"kind": "identity", "year_mean": 1975.0, "year_scale": 26.0, "largest_norm": 1.5},
            {"ids": items, **_mlp(random, "content", 2 + GENRES)},
        ),
        popularity=random.random(size).astype(np.float32),
        reference={"histories": [[[int(row), 5.0] for row in rows] for rows in histories], "preferences": []},
    )


def publish(store: Path, size: int, *, seed: int) -> Generation:
    """The generation made of `run`, in a new store."""
    return Store(store).publish(*bundle(run(size, seed=seed)))


def _mlp(random: np.random.Generator, name: str, inputs: int) -> dict[str, Floats]:
    """Layers that leave the direction of a bag mostly to the bag itself."""
    widths = (inputs, *HIDDEN, WIDTH)
    arrays = {}
    for place, (before, after) in enumerate(itertools.pairwise(widths)):
        arrays[f"{name}_{place}_kernel"] = (0.5 * random.normal(size=(before, after)) / before**0.5).astype(
            np.float32
        )
        arrays[f"{name}_{place}_bias"] = np.zeros(after, dtype=np.float32)
    return arrays
