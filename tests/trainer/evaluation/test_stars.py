import numpy as np
import pytest

from deepmoviematch.trainer.evaluation.stars import BIASES, OURS, StarErrors


def test_the_head_is_set_beside_the_others_by_its_root_mean_square_error() -> None:
    users = np.array([0, 1])
    errors = {"mean": [2.0, -2.0], BIASES: [0.0, 1.0], OURS: [1.0, 1.0]}
    found = StarErrors(users, {name: np.array(each, np.float32) for name, each in errors.items()})
    ratio = found.figures(seed=1)["mean"]["rmse, ours / it"]
    assert ratio == {"mean": pytest.approx(0.5), "low": pytest.approx(0.5), "high": pytest.approx(0.5)}


@pytest.mark.parametrize("biases", [[0.0, 0.0], [0.0, 1.0]], ids=["everybody", "one of two users"])
def test_what_is_predicted_exactly_has_no_ratio(biases: list[float]) -> None:
    errors = {"mean": [2.0, 1.0], BIASES: biases, OURS: [0.0, 0.0]}
    found = StarErrors(
        np.array([0, 1]), {name: np.array(each, np.float32) for name, each in errors.items()}
    ).figures(seed=1)
    assert "rmse, ours / it" in found["mean"]
    assert "rmse, ours / it" not in found[BIASES]
    assert found[BIASES]["mae_stars"]["mean"] == sum(biases) / 2
