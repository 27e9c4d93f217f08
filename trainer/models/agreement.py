"""How far two items appeal to the same users, as vectors that can be compared.

Towers are trained to tell what suits a user. Of two items they say no more than that: what users score
the one high and the other low. So items are alike as far as the scores that users give them go up and down
together. With tastes u of the users, of covariance S, and vectors v of the items, u v is a score, and

    cov(u v, u w) = v S w = (v A) (w A)^T,    A = S^(1/2)

so the cosine of v A and w A is the correlation of both items' scores among users. That of v and w would let
every direction count alike, however little users differ in it. Symbols: `U` users, `D` width.
"""

import numpy as np

from deepmoviematch.data.arrays import Floats

LEAST = 1e-3
"""Variance of any direction, at the least, as a share of the mean one: no item is nowhere."""


def agreement_of(tastes: Floats) -> Floats:
    """[D, D] symmetric float32 A as above, by the tastes [U, D]; the identity where all users are alike."""
    centred = tastes.astype(np.float64)
    centred -= centred.mean(axis=0)
    spread, axes = np.linalg.eigh(centred.T @ centred / len(tastes))
    mean = spread.mean()
    if mean < np.finfo(np.float32).eps ** 2:  # of unit vectors it is up to 1 / D
        return np.eye(len(spread), dtype=np.float32)
    roots = np.sqrt(np.maximum(spread, LEAST * mean) / mean)
    agreement: Floats = ((axes * roots) @ axes.T).astype(np.float32)
    return agreement
