"""What is asked of whom."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.trainer.evaluation.protocols import PROTOCOLS, Trial


@dataclass(frozen=True)
class Plan:
    """What is asked of whom."""

    protocols: tuple[str, ...]
    """Names in `PROTOCOLS`, "moments", "rating", or "all" for whatever rankings the data allow."""

    seed: int = 1
    """Of the splits. The recipe's own seed and those after it train the towers of each split."""

    splits: int = 1
    """How many splits are pooled."""

    peers: bool = False
    """Whether to tune and measure all peers too; popularity always is."""

    history: str = "all"
    """"all", or "likes": what a user rated low is neither told nor kept out of the running."""

    def trials(self, split: Trial, names: Sequence[str], catalogue: Catalogue) -> dict[str, Trial]:
        """What the protocols `names` ask on their split."""
        return {
            name: PROTOCOLS[name].trial(catalogue, split, self.seed, history=self.history) for name in names
        }
