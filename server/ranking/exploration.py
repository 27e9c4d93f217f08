"""A share of a list is given to chance, so that what is shown can also teach.

Each place of a list of P items is given to chance with probability `share`, whatever the
others are; the items of all such places are shuffled among them, every order as likely as
any other. Everything else stays. Then each item is in the list once, and the chance that it
is at a place has a closed form. Given its own place to chance, it shares that with B others,
B binomial of P - 1 and `share`, and comes to any of these places with equal chance. As
E[1 / (1 + B)] = (1 - (1 - share)^P) / (P * share), it stays with probability

    stay = 1 - share + (1 - (1 - share)^P) / P

and comes to each other place with probability (1 - stay) / (P - 1). Weighing what is observed of an
item at a place by the inverse of that chance is unbiased (Horvitz and Thompson, 1952), for `share`
above 0 whatever other order one asks about.
"""

from typing import NamedTuple

import numpy as np

from deepmoviematch.data.arrays import Doubles, Flags, Longs


class Shuffled(NamedTuple):
    """What chance did to a list of P items."""

    places: Longs
    """[P] where in the list the item comes from that is now at each place."""

    given: Flags
    """[P] whether each place was given to chance; its item may be the same all the same."""

    propensities: Doubles
    """[P] the chance of each item to be at its place."""


def shuffled(size: int, share: float, seed: bytes) -> Shuffled:
    """Give a share of a list's places to chance.

    Args:
        size: P.
        share: 0 to 1.
        seed: Decides everything; equal seeds do equal things on every machine.
    """
    bits = np.random.PCG64(int.from_bytes(seed)).random_raw(2 * size)
    given = (bits[:size] >> np.uint64(11)) * 2.0**-53 < share
    places = np.arange(size)
    mine = np.flatnonzero(given)
    places[mine] = mine[np.argsort(bits[size:][mine], kind="stable")]
    stay = 1 - share + (1 - (1 - share) ** size) / max(size, 1)
    move = (1 - stay) / max(size - 1, 1)
    return Shuffled(places, given, np.where(places == np.arange(size), stay, move))
