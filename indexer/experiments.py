"""Experiments: users split at random between generations, to find out which serves them better.

STORE/experiments.json names those that run. Which variant a user gets depends on the user's id and on the
experiment alone: its name, and the order and shares of its variants. So every process and machine says the
same of a user, and nobody keeps who got what.
"""

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from deepmoviematch.data.ratings import RatingScale
from deepmoviematch.indexer import disk, manifest
from deepmoviematch.indexer.errors import StoreError

FILE = "experiments.json"
CURRENT = "current"
"""In place of a generation's id: whichever is current."""

MOST_BYTES = 1 << 20
MOST_EXPERIMENTS = 50
MOST_VARIANTS = 20
LEAST_SHARE, MOST_SHARE = 1e-6, 1e6

_NAME = re.compile(r"[\w][\w.-]{0,63}", re.ASCII)


class Variant(NamedTuple):
    """What some of the users get."""

    name: str

    generation: str
    """Id of the generation that answers them, or `CURRENT`."""

    share: float = 1.0
    """How many they are, compared with the shares of the other variants."""


class Experiment(NamedTuple):
    """Variants that share the users between them."""

    name: str

    variants: tuple[Variant, ...]

    @property
    def generations(self) -> frozenset[str]:
        """The ids that its variants name."""
        return frozenset(variant.generation for variant in self.variants) - {CURRENT}

    @property
    def total(self) -> float:
        """The sum of the shares."""
        return math.fsum(variant.share for variant in self.variants)

    def variant_of(self, user_id: str) -> Variant:
        """The one that a user gets, now and whenever asked again.

        Users lie on a line in an order that is random but for the names, and variants take their shares
        of it one after the other: of two variants, one that grows takes users over and gives none away.
        """
        digest = hashlib.blake2b(f"{self.name}\0{user_id}".encode(), digest_size=8).digest()
        place = int.from_bytes(digest, "big") / 2**64 * self.total
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
            if not LEAST_SHARE <= variant.share <= MOST_SHARE:
                raise StoreError(
                    f"a variant's share must be {LEAST_SHARE:f} to {MOST_SHARE:,.0f}, got {variant.share} "
                    f"in {self.name}/{variant.name}"
                )
        return self


def check_number(experiments: Collection[object]) -> None:
    """Refuse more experiments than may run at once.

    Raises:
        StoreError: If they are.
    """
    if len(experiments) > MOST_EXPERIMENTS:
        raise StoreError(
            f"at most {MOST_EXPERIMENTS} experiments may run at once, got {len(experiments)}; "
            "end one before another begins"
        )


def check_scales(scales: Collection[RatingScale]) -> None:
    """Refuse an experiment whose generations take ratings of these scales, if they are not one.

    Raises:
        StoreError: If the same request would not mean the same to each generation.
    """
    if len(different := set(scales)) > 1:
        found = " and of ".join(sorted(f"{scale.low:g} to {scale.top:g}" for scale in different))
        raise StoreError(
            f"the generations of an experiment must take ratings of one scale, got ratings of {found}"
        )


def read(path: Path) -> dict[str, Experiment]:
    """The experiments that a file names, by name; none if there is no file.

    Raises:
        StoreError: If it cannot be read or breaks a rule.
    """
    try:
        values = json.loads(disk.read_file(path, most=MOST_BYTES))["experiments"]
        check_number(values)
        found = [
            Experiment(name, tuple(Variant(**each) for each in variants)) for name, variants in values.items()
        ]
        return {experiment.name: experiment.check() for experiment in found}
    except FileNotFoundError:
        return {}
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        reason = repr(error)
    except StoreError as error:
        reason = str(error)
    raise StoreError(
        f"{path} must hold experiments as this code writes them, got {reason}; remove it to end them all"
    )


def to_bytes(experiments: Mapping[str, Experiment]) -> bytes:
    """The contents of a file that `read` takes."""
    named = {
        name: [variant._asdict() for variant in experiment.variants]
        for name, experiment in experiments.items()
    }
    return manifest.to_json({"experiments": named})
