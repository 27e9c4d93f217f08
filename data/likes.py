"""How many ratings are likes, which are what the towers learn to bring up."""

from dataclasses import dataclass

import numpy as np

from deepmoviematch.data.features import LIKE_STARS
from deepmoviematch.data.ratings import Ratings

FEW = 0.02
"""Share of the ratings below which likes are more likely a misunderstanding than a taste."""


@dataclass(frozen=True)
class Likes:
    """The likes among the ratings of a data set."""

    count: int
    items: int
    """Items that anyone likes."""

    share: float
    """Likes over ratings."""

    least: float
    """The lowest rating that would be a like, in the data's own units."""

    @classmethod
    def of(cls, ratings: Ratings) -> "Likes":
        """Count them."""
        liked = ratings.stars >= LIKE_STARS
        none, star = ratings.scale.units
        return cls(
            count=int(liked.sum()),
            items=len(np.unique(ratings.items[liked])),
            share=float(liked.mean()),
            least=none + LIKE_STARS * star,
        )

    @property
    def warning(self) -> str:
        """What to say where hardly any rating is a like; empty where enough are."""
        if self.share >= FEW:
            return ""
        return (
            f"at least {FEW:.0%} of the ratings should be likes, {self.least:g} or more, got {self.count:,} "
            f"({self.share:.2%}); if the numbers count plays or purchases, write 1 for each pair instead: "
            "then all are likes"
        )
