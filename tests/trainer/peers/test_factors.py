import numpy as np
import pytest

from deepmoviematch.data.arrays import Floats
from deepmoviematch.trainer.peers.baselines import RatingRows, bias_model
from deepmoviematch.trainer.peers.factors import _Model, bayesian, penalised


def made(seed: int = 0, noise: float = 0.3) -> tuple[RatingRows, RatingRows]:
    """Training and test rows of 60 users and 40 items whose ratings have two hidden factors."""
    rng = np.random.default_rng(seed)
    tastes, traits = rng.normal(size=(60, 2)), rng.normal(size=(40, 2)) * 0.7
    users, items = np.divmod(rng.permutation(60 * 40), 40)
    ratings: Floats = (3 + np.sum(tastes[users] * traits[items], axis=1)).astype(np.float32)
    ratings += rng.normal(scale=noise, size=len(ratings)).astype(np.float32)
    rows = RatingRows(users, items, ratings)
    return rows.take(np.arange(1400)), rows.take(np.arange(1400, 2400))


def rmse(predicted: Floats, rows: RatingRows) -> float:
    return float(np.sqrt(np.mean((predicted - rows.ratings) ** 2)))


@pytest.mark.parametrize("model", [penalised, bayesian])
def test_factors_find_what_biases_cannot(model: type) -> None:
    train, test = made()
    assert rmse(model(train, seed=1)(test), test) < 0.5 * rmse(bias_model(train, seed=1)(test), test)


@pytest.mark.parametrize("model", [penalised, bayesian])
def test_the_same_seed_gives_the_same_predictions_and_strangers_the_mean(model: type) -> None:
    train, test = made()
    strangers = RatingRows(np.array([99]), np.array([99]), np.array([0], dtype=np.float32))
    first, second = model(train, seed=1), model(train, seed=1)
    assert first(test).tolist() == second(test).tolist()
    assert first(strangers) == pytest.approx([train.ratings.mean()])


@pytest.mark.parametrize("model", [penalised, bayesian])
def test_one_rating_is_enough_to_predict_within_the_scale(model: type) -> None:
    train = RatingRows(np.array([0]), np.array([0]), np.array([4], dtype=np.float32))
    assert model(train, seed=1)(train).tolist() == [4]


def test_a_side_given_the_other_is_the_ridge_regression_of_its_ratings_row_by_row() -> None:
    """A pair that is rated twice counts twice."""
    train = made()[0].take(np.array([*range(200), 0, 1]))
    rng = np.random.default_rng(3)
    model = _Model(train, rng)
    model.sides[1] = rng.normal(size=model.sides[1].shape)
    prior = rng.normal(size=17), np.diag(rng.uniform(1, 3, size=17))
    means, roots = model.conditional(0, *prior, noise=2.0)
    for user in range(5):
        rows = train.users == user
        items = model.sides[1][train.items[rows]]
        inputs = np.column_stack([np.ones(len(items)), items[:, 1:]])
        rest = train.ratings[rows] - model.mean - items[:, 0]
        precision = prior[1] + 2.0 * inputs.T @ inputs
        expected = np.linalg.inv(precision) @ (prior[1] @ prior[0] + 2.0 * inputs.T @ rest)
        assert means[user] == pytest.approx(expected)
        assert roots[user] @ roots[user].T == pytest.approx(precision)
