"""The chance that each result tells of is the chance that it had."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.server.ranking.exploration import shuffled


def chances(size: int, share: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """[item, place] by going through everything that can happen."""
    table = np.zeros((size, size))
    for given_ in product([False, True], repeat=size):
        places = [place for place in range(size) if given_[place]]
        weight = np.prod([share if each else 1 - share for each in given_])
        orders = list(permutations(places))
        for order in orders:
            moved = dict(zip(places, order, strict=True))
            for place in range(size):
                table[moved.get(place, place), place] += weight / len(orders)
    return table


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_propensities_are_what_going_through_everything_finds(size: int, share: float) -> None:
    table = chances(size, share)
    seen = set()
    for seed in range(300):
        places, _, propensities = shuffled(size, share, seed.to_bytes(2))
        for place, (item, propensity) in enumerate(zip(places, propensities, strict=True)):
            assert propensity == pytest.approx(table[item, place], abs=1e-12)
            seen.add((int(item), place))
    assert share < 0.5 or len(seen) == size * size  # everything that can happen did


def test_weighing_by_the_inverse_is_unbiased() -> None:
    """What a list of 6 is worth in another order, told from lists that chance had a hand in."""
    size, share, draws = 6, 0.4, 20_000
    rng = np.random.default_rng(0)
    worth = rng.random((size, size))  # of an item at a place, unknown to whoever estimates
    other = rng.permutation(size)  # the item at each place of the order that is asked about
    estimates = []
    for seed in range(draws):
        places, _, propensities = shuffled(size, share, seed.to_bytes(4))
        shown = places == other
        estimates.append(np.sum(worth[places, np.arange(size)] * shown / propensities))
    truth = worth[other, np.arange(size)].sum()
    error = np.std(estimates) / np.sqrt(draws)
    assert abs(np.mean(estimates) - truth) < 4 * error
    assert error < 0.03 * truth


@given(size=st.integers(0, 60), share=st.sampled_from([0.0, 0.05, 0.5, 1.0]), seed=st.binary(max_size=16))
def test_a_list_stays_a_list(size: int, share: float, seed: bytes) -> None:
    places, given_, propensities = shuffled(size, share, seed)
    assert sorted(places.tolist()) == list(range(size))
    assert (places == np.arange(size))[~given_].all()
    assert ((propensities > 0) & (propensities <= 1)).all()
    assert np.array_equal(shuffled(size, share, seed).places, places)
    if share == 0:
        assert propensities.tolist() == [1.0] * size


def test_the_share_of_places_is_what_is_asked_for() -> None:
    given_ = [shuffled(1000, 0.1, seed.to_bytes(1)).given.mean() for seed in range(50)]
    assert np.mean(given_) == pytest.approx(0.1, abs=0.005)


def test_a_seed_does_the_same_on_every_machine() -> None:
    assert shuffled(12, 0.6, b"seed").places.tolist() == [0, 1, 2, 3, 5, 6, 11, 7, 8, 4, 9, 10]
