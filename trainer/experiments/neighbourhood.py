"""Which items are near to each other, and who likes both.

Symbols: `N` items, `U` users, `D` width, `K` neighbours, `P` pairs, `R` rows.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from deepmoviematch.data.arrays import Doubles, Flags, Floats, Longs
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.towers import item_tower
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation.metrics import top_rows
from deepmoviematch.trainer.evaluation.protocols import held_out, refuse_other_catalogue
from deepmoviematch.trainer.likes import like_matrix

_BLOCK = 1024
"""Items that are compared with the catalogue at once."""

_ARTICLE = re.compile(r"^(.*), (the|an|a)((?: \(\d{4}\))?)$")


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """The items of a catalogue as a run's vectors see them, and who likes what."""

    catalogue: Catalogue

    directions: Floats
    """[N, D] unit vectors."""

    likes: Any
    """[U, N] sparse columns of 1 where a user likes an item."""

    unseen: bool
    """Whether the vectors have learnt nothing from these users."""

    @classmethod
    def of(cls, folder: Path, dataset: Dataset) -> "Neighbourhood":
        """What the run in `folder` makes of `dataset`; the users are those it held out, else everyone.

        Raises:
            MovieMatchError: If the run is damaged, was fitted on another catalogue, or held users out of
                other ratings.
        """
        run, catalogue, ratings = Run.load(folder), dataset.catalogue, dataset.ratings
        refuse_other_catalogue(folder, run.catalogue, catalogue)
        unseen = held_out(folder, run.provenance, dataset)
        if unseen is not None:
            ratings = ratings.take(np.isin(ratings.user_ids, unseen.user_ids)[ratings.users])
        tower = item_tower(run.item_tower)
        directions = tower.directions(tower.embed(catalogue))
        likes = like_matrix(ratings, len(catalogue)).tocsc()
        return cls(catalogue, directions, likes, unseen=unseen is not None)

    @property
    def counts(self) -> Longs:
        """[N] how many users like each item."""
        counts: Longs = np.diff(self.likes.indptr).astype(np.int64)
        return counts

    def nearest(self, rows: Longs, count: int) -> Longs:
        """[R, K] the `count` items nearest to each of `rows` [R] by cosine, the nearest first; not itself."""
        found = []
        for first in range(0, len(rows), _BLOCK):
            block = rows[first : first + _BLOCK]
            cosines = self.directions[block] @ self.directions.T
            cosines[np.arange(len(block)), block] = -np.inf
            found.append(top_rows(cosines, count))
        return np.concatenate(found)

    def share_genre(self, rows: Longs, others: Longs) -> Flags:
        """[P] whether the two items of each pair have a genre in common."""
        shared: Flags = np.any(self.catalogue.genres[rows] & self.catalogue.genres[others], axis=1)
        return shared

    def both(self, rows: Longs, others: Longs) -> Doubles:
        """[P] how many users like both items of each pair."""
        counts = np.zeros(len(rows))
        for first in range(0, len(rows), _BLOCK):
            block = slice(first, first + _BLOCK)
            together = self.likes[:, rows[block]].multiply(self.likes[:, others[block]])
            counts[block] = np.asarray(together.sum(axis=0)).ravel()
        return counts

    def by_chance(self, rows: Longs, others: Longs) -> Doubles:
        """[P] how many users would like both if liking the one had nothing to do with liking the other."""
        chance: Doubles = self.counts[rows] * self.counts[others] / max(1, self.likes.shape[0])
        return chance

    def row_of(self, name: str) -> int:
        """The item with this id, or this title with or without its year.

        Raises:
            TrainingError: If there is none, or several.
        """
        if name in self.catalogue.row_of:
            return self.catalogue.row_of[name]
        wanted = _key(name)
        titles = zip(self.catalogue.titles, self.catalogue.years.tolist(), strict=True)
        rows = [
            row
            for row, (title, year) in enumerate(titles)
            if wanted in {_key(title), _key(f"{title} ({year})")}
        ]
        if len(rows) != 1:
            near = get_close_matches(name, dict.fromkeys(self.catalogue.titles))
            cure = f"did you mean {' or '.join(near)}?" if near else "look for it among the data's titles"
            if rows:
                cure = f"name one by its id: {', '.join(self.catalogue.item_ids[row] for row in rows)}"
            raise TrainingError(
                "an item must be named by its id or its whole title, "
                f"got {name!r}, the title of {len(rows)}; {cure}"
            )
        return rows[0]


def _key(title: str) -> str:
    """What the spellings of a title have in common: "The Matrix (1999)" and "Matrix, The (1999)"."""
    title = title.casefold().strip()
    moved = _ARTICLE.match(title)
    return f"{moved[2]} {moved[1]}{moved[3]}" if moved else title
