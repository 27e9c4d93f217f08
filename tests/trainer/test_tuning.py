import numpy as np
import pytest

from deepmoviematch.data.tables import Catalogue, Dataset, Ratings
from deepmoviematch.trainer import tuning
from deepmoviematch.trainer.peers import Popularity, Ranker
from deepmoviematch.trainer.protocols import new_users
from deepmoviematch.trainer.tuning import Peer, tuned


@pytest.mark.parametrize("best", [(0.5, 1.0), (8.0, 0.25), (1.0, 1.0), (64.0, 4.0)])
def test_parameters_are_searched_past_the_start_in_every_direction(
    best: tuple[float, float], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[float, ...]] = []

    def fit(catalogue: Catalogue, ratings: Ratings, *parameters: float) -> Ranker:
        tried.append(parameters)
        return Popularity(catalogue, ratings)

    def rank(*_: object) -> object:
        return _Report({"x": -np.abs(np.log2(np.divide(tried[-1], best))).sum(keepdims=True)})

    monkeypatch.setattr(tuning, "rank", rank)
    inner = new_users(dataset.catalogue, dataset.ratings, 1)
    assert tuned(Peer(fit, (1.0, 1.0)), inner, dataset.catalogue, metric="x") == best
    for i, value in enumerate(best):
        for factor in (0.5, 2.0):
            assert (*best[:i], value * factor, *best[i + 1 :]) in tried
    assert len(tried) == len(set(tried))


class _Report:
    def __init__(self, per_user: dict[str, object]) -> None:
        self.per_user = per_user
