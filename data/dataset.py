"""The two tables that everything takes, as one."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.ratings import Ratings


@dataclass(frozen=True, eq=False)
class Dataset:
    """A catalogue, its ratings, and what happened on the way in."""

    name: str
    """What people call it: a source's name or the folder's."""

    catalogue: Catalogue
    ratings: Ratings

    dropped: tuple[str, ...] = ()
    """A sentence for each thing that was left out: rows that leniency dropped, columns of no use;
    or that was taken otherwise than it may be meant."""

    def __post_init__(self) -> None:
        """Refuse ratings of items that the catalogue does not have."""
        if int(self.ratings.items.max()) >= len(self.catalogue):
            raise DataError(
                f"rated items must be in the catalogue of {len(self.catalogue)}, "
                f"got row {self.ratings.items.max()}"
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 over both tables: equal rows in an equal order, equal digest, whatever the file form.

        The order of rows counts, for splits and batches are drawn from it: shuffled files are other data.
        """
        ratings, catalogue = self.ratings, self.catalogue
        digest = hashlib.sha256()
        for names in (catalogue.item_ids, catalogue.titles, catalogue.genre_names, ratings.user_ids):
            digest.update(repr(names).encode())
        times = np.empty(0, dtype=np.int64) if ratings.timestamps is None else ratings.timestamps
        for column in (
            catalogue.years,
            catalogue.genres,
            ratings.users,
            ratings.items,
            ratings.ratings,
            times,
        ):
            digest.update(np.ascontiguousarray(column).data)
        for further in catalogue.columns:
            digest.update(repr((further.name, further.kind.value, further.values)).encode())
        if ratings.devices is not None:
            used = {ratings.device_names[row]: row for row in np.unique(ratings.devices) if row >= 0}
            places = np.full(len(ratings.device_names) + 1, -1, dtype=np.int32)
            places[[used[name] for name in sorted(used)]] = np.arange(len(used))
            digest.update(repr(sorted(used)).encode())
            digest.update(places[ratings.devices].data)
        return digest.hexdigest()
