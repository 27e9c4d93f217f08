"""A generation: towers, catalogue and indexes of one run, verified and immutable.

Symbols: `N` items, `G` genres, `D` embedding width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from deepmoviematch.data.arrays import Floats, Longs
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.data.rating_head import RatingHead
from deepmoviematch.data.ratings import TOP_STARS, RatingScale
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.data.weights import MAPPED_BYTES, Weights, read_array
from deepmoviematch.indexer import golden, manifest
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.run import rating_head_of
from deepmoviematch.indexer.search.kinds import restore
from deepmoviematch.indexer.search.vectors import Contents, VectorIndex
from deepmoviematch.indexer.towers import UserTower, item_tower, user_tower

UNIT_TOLERANCE = 1e-4
"""How far from 1 the length of a vector may be."""


@dataclass(frozen=True, eq=False)
class Generation:
    """Everything that a server needs to answer, from one training run."""

    id: str
    """Such as "g000012-5f3a9c1e": a number that only grows, and the manifest's fingerprint."""

    manifest: dict[str, Any]
    """Where it comes from and what it holds; the run's own provenance is under "run"."""

    catalogue: Catalogue
    """N items."""

    scale: RatingScale
    """The range of the ratings that it was trained on."""

    user_tower: UserTower

    index: VectorIndex
    """The items' vectors: what a user's vector is searched in."""

    next_index: VectorIndex
    """What the vector of a user who asks what is next is searched in; may be `index` itself."""

    similar: VectorIndex
    """The items' directions: what an item is searched in."""

    directions: Floats
    """[N, D] unit vectors: the queries for `similar`."""

    popularity: Floats
    """[N] share of the training users who liked each item."""

    rating_head: RatingHead | None = None
    """What predicts ratings, if anything does."""

    def index_for(self, *, asks_next: bool) -> VectorIndex:
        """What the vector of a user is searched in, by what the user asks."""
        return self.next_index if asks_next else self.index

    @cached_property
    def popular(self) -> Longs:
        """[N] rows by descending popularity; equal ones in the order of their rows."""
        return np.argsort(-self.popularity, kind="stable")


def load(folder: Path) -> Generation:
    """Read the generation in `folder` and verify all of it.

    Hashes, shapes and lengths are checked, and the golden queries asked again, so
    what is returned has answered before.

    Raises:
        GenerationError: If any check fails; the message says which file and why.
    """
    try:
        values = manifest.read(folder, "generation")
        name = manifest.check_id(values)
        _check_files(folder, values["files"])
        return _assemble(folder, name, values)
    except MovieMatchError as error:
        raise GenerationError(f"{folder}: {error}") from error
    except Exception as error:  # whatever a hostile file provokes, the caller keeps what it serves
        raise GenerationError(f"{folder}: a generation must be readable, got {error!r}") from error


def _check_files(folder: Path, files: Mapping[str, Any]) -> None:
    manifest.check_no_others(folder, files)
    for name, entry in files.items():
        manifest.check_file(folder, name, entry["sha256"], entry["size"])


def _assemble(folder: Path, name: str, values: dict[str, Any]) -> Generation:
    catalogue = Catalogue.from_json(manifest.read_json(folder / "catalogue.json"))
    size, dim = len(catalogue), values["index"]["dim"]
    if values["index"]["items"] != size:
        raise GenerationError(f"the index must hold {size} items, got {values['index']['items']}")
    next_dim = values["index"].get("next_dim", dim)
    users = user_tower(Weights.load(folder / "user_tower"))
    for tower in (users, item_tower(Weights.load(folder / "item_tower"))):
        if (tower.dim, tower.next_dim) != (dim, next_dim):
            raise GenerationError(
                f"towers and index must come from one run, got indexes of width {dim} and {next_dim} "
                f"and a tower of width {tower.dim} and {tower.next_dim}"
            )
    index, _ = _index(folder, "index.faiss", "vectors.npy", values, dim)
    similar, directions = _index(folder, "similar.faiss", "directions.npy", values, dim)
    following = index
    if next_dim != dim:
        following, _ = _index(folder, "next.faiss", "next_vectors.npy", values, next_dim)
    _check_inputs(users, catalogue)
    golden.replay(
        manifest.read_json(folder / "golden.json"), golden.spaces(users, index, following), catalogue
    )
    manifest.read_json(folder / "reference.json")
    scale = RatingScale(**values["run"]["scale"])
    return Generation(
        id=name,
        manifest=values,
        catalogue=catalogue,
        scale=scale,
        user_tower=users,
        index=index,
        next_index=following,
        similar=similar,
        directions=directions,
        popularity=_popularity(folder, size),
        rating_head=_rating_head(rating_head_of(folder, values["files"]), directions, scale),
    )


def _rating_head(weights: Weights | None, directions: Floats, scale: RatingScale) -> RatingHead | None:
    if weights is None:  # as of old
        return None
    try:
        return RatingHead(weights, directions, scale)
    except (KeyError, TypeError, ValueError) as error:
        raise GenerationError(f"a rating head must fit the items' directions, got {error!r}") from error


def _check_inputs(tower: UserTower, catalogue: Catalogue) -> None:
    """Fail here rather than on somebody's request if the tower is for other items or genres."""
    size, genres = len(catalogue), len(catalogue.genre_names)
    user = UserBatch.of(genres, [dict.fromkeys(range(genres), TOP_STARS)], [{size - 1: TOP_STARS}])
    try:
        tower.embed(user)
        tower.embed_next(user)
    except (IndexError, ValueError) as error:
        raise GenerationError(
            f"the user tower must take the catalogue's {size} items and {genres} genres, got {error!r}"
        ) from error


def _index(
    folder: Path, name: str, vectors_name: str, values: Mapping[str, Any], dim: int
) -> tuple[VectorIndex, Floats]:
    """The index in the file `name`, and the unit vectors [N, `dim`] that it must hold."""
    size = values["index"]["items"]
    vectors = _array(folder / vectors_name, (size, dim))
    lengths = np.linalg.norm(vectors, axis=1)
    if not (np.abs(lengths - 1) <= UNIT_TOLERANCE).all():
        raise GenerationError(
            f"{vectors_name} must hold vectors of length 1, got {lengths.min():.4f} to {lengths.max():.4f}"
        )
    index = restore(values["index"]["kind"], _contents(folder / name), dim=dim, size=size)
    if not np.array_equal(index.exact.view, vectors):
        raise GenerationError(f"{name} must hold the vectors of {vectors_name}, got others")
    return index, vectors


def _contents(path: Path) -> Contents:
    """The contents of a file: those of a large one are mapped, and shared with whoever else maps it."""
    if path.stat().st_size < MAPPED_BYTES:
        return path.read_bytes()
    return np.memmap(path, dtype=np.uint8, mode="r")


def _popularity(folder: Path, size: int) -> Floats:
    shares = _array(folder / "popularity.npy", (size,))
    if not (shares.min() >= 0 and shares.max() <= 1):
        raise GenerationError(f"popularity must be shares of 0 to 1, got {shares.min()} to {shares.max()}")
    return shares


def _array(path: Path, shape: tuple[int, ...]) -> Floats:
    array = read_array(path)
    if array.dtype != np.float32 or array.shape != shape:
        raise GenerationError(f"{path.name} must be float32 {shape}, got {array.dtype} {array.shape}")
    return array
