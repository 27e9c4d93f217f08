from dataclasses import replace

import numpy as np
import pytest

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.evaluation.protocols import Trial, new_users
from deepmoviematch.trainer.experiments import tuning
from deepmoviematch.trainer.experiments.tuning import Peer, Tuned, tuned
from deepmoviematch.trainer.peers.rankers import Popularity, Ranker


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
    found = tuned(Peer(fit, (1.0, 1.0)), {"a": inner}, dataset.catalogue, metrics={"a": "x"})
    assert found == {"a": Tuned(best, 0.0)}
    for i, value in enumerate(best):
        for factor in (0.5, 2.0):
            assert (*best[:i], value * factor, *best[i + 1 :]) in tried
    assert len(tried) == len(set(tried))


def test_each_question_has_its_own_best_and_a_fit_serves_them_all(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[float] = []

    def fit(catalogue: Catalogue, ratings: Ratings, parameter: float) -> Ranker:
        fitted.append(parameter)
        return Popularity(catalogue, ratings)

    def rank(_: Ranker, trial: Trial, __: Catalogue) -> object:
        best = 4.0 if trial is trials["a"] else 0.5
        return _Report({"x": -np.abs(np.log2([fitted[-1] / best]))})

    monkeypatch.setattr(tuning, "rank", rank)
    split = new_users(dataset.catalogue, dataset.ratings, 1)
    trials = {"a": split, "b": replace(split)}
    found = tuned(Peer(fit, (1.0,)), trials, dataset.catalogue, metrics={"a": "x", "b": "x"})
    assert found == {"a": Tuned((4.0,), 0.0), "b": Tuned((0.5,), 0.0)}
    assert sorted(fitted) == [0.25, 0.5, 1, 2, 4, 8]


def test_a_search_that_never_ceases_to_help_ends(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    last: list[float] = []

    def fit(catalogue: Catalogue, ratings: Ratings, parameter: float) -> Ranker:
        last.append(parameter)
        return Popularity(catalogue, ratings)

    monkeypatch.setattr(tuning, "rank", lambda *_: _Report({"x": np.array([last[-1]])}))
    split = new_users(dataset.catalogue, dataset.ratings, 1)
    for peer, most in ((Peer(fit, (1.0,)), tuning.FARTHEST), (Peer(fit, (1.0,), most=(4.0,)), 4.0)):
        found = tuned(peer, {"a": split}, dataset.catalogue, metrics={"a": "x"})
        assert found["a"].parameters == (most,)
        assert max(last) == most
        last.clear()


class _Report:
    def __init__(self, per_user: dict[str, object]) -> None:
        self.per_user = per_user
