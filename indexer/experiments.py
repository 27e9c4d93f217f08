"""Experiments: users split at random between generations, to find out which serves them better.

STORE/experiments.json names those that run. Which variant a user gets depends on the experiment's
name, its shares and the user's id alone, so that every process and machine says the same of a user
whom nobody keeps anything of.
"""

import hashlib
import math
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deepmoviematch.indexer import manifest
from deepmoviematch.indexer.errors import GenerationError, StoreError

FILE = "experiments.json"
CURRENT = "current"
"""In place of a generation's id: whichever is current."""

MOST_BYTES = 1 << 20
MOST_VARIANTS = 100

_NAME = re.compile(r"[\w][\w.-]{0,63}", re.ASCII)


class Variant(NamedTuple):
    """What some of the users get."""

    name: str

    generation: str
    """Id of the generation that answers them, or `CURRENT`."""

    share: float = 1.0
    """How many they are, compared with the shares of the other variants; above 0."""


class Experiment(NamedTuple):
    """Variants that share the users between them."""

    name: str

    variants: tuple[Variant, ...]

    @property
    def generations(self) -> frozenset[str]:
        """The ids that its variants name."""
        return frozenset(variant.generation for variant in self.variants) - {CURRENT}

    def variant_of(self, user_id: str) -> Variant:
        """The one that a user gets, now and whenever asked again.

        Users lie on a line in an order that is random but for the names, and variants take their shares
        of it one after the other: of two variants, one that grows takes users over and gives none away.
        """
        digest = hashlib.blake2b(f"{self.name}\0{user_id}".encode(), digest_size=8).digest()
        place = int.from_bytes(digest, "big") / 2**64 * math.fsum(variant.share for variant in self.variants)
        for variant in self.variants:
            place -= variant.share
            if place < 0:
                return variant
        return self.variants[-1]  # of a share that rounding left over

    def check(self) -> "Experiment":
        """Return it.

        Raises:
            StoreError: If it breaks a rule.
        """
        names = [variant.name for variant in self.variants]
        for name in (self.name, *names):
            if not _NAME.fullmatch(name):
                raise StoreError(
                    "the name of an experiment or a variant must be 1 to 64 letters, digits, dots, dashes or "
                    f"underscores and begin with a letter, digit or underscore, got {name[:80]!r}"
                )
        if not 1 <= len(names) <= MOST_VARIANTS or len(set(names)) < len(names):
            raise StoreError(
                f"an experiment must have 1 to {MOST_VARIANTS} variants of different names, "
                f"got {', '.join(names[:10]) or 'none'} in {self.name}"
            )
        for variant in self.variants:
            if variant.generation != CURRENT and manifest.sequence_of(variant.generation) is None:
                raise StoreError(
                    f"a variant must name the id of a generation, or {CURRENT!r}, "
                    f"got {variant.generation[:80]!r} in {self.name}/{variant.name}"
                )
            if not 0 < variant.share < math.inf:
                raise StoreError(
                    f"a variant's share must be a number above 0, got {variant.share} "
                    f"in {self.name}/{variant.name}"
                )
        return self


def read(path: Path) -> dict[str, Experiment]:
    """The experiments that a file names, by name; none if there is no file.

    Raises:
        StoreError: If it cannot be read or breaks a rule.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            raise StoreError(
                f"{path} must be a plain file of at most {MOST_BYTES} bytes, got {status.st_size} bytes "
                f"of mode {stat.filemode(status.st_mode)}"
            )
        values = manifest.read_json(path)
        found = [
            Experiment(str(name), tuple(map(_variant, variants)))
            for name, variants in values["experiments"].items()
        ]
    except FileNotFoundError:
        return {}
    except (OSError, GenerationError) as error:
        raise StoreError(f"{path} must be readable, got {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} must hold experiments as this code writes them, got {error!r}") from error
    return {experiment.name: experiment.check() for experiment in found}


def _variant(values: Mapping[str, Any]) -> Variant:
    return Variant(str(values["name"]), str(values["generation"]), float(values["share"]))


def to_bytes(experiments: Mapping[str, Experiment]) -> bytes:
    """The contents of a file that `read` takes."""
    named = {
        name: [variant._asdict() for variant in experiment.variants]
        for name, experiment in experiments.items()
    }
    return manifest.to_json({"experiments": named})
