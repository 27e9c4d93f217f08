import keras
import numpy as np
import pytest

from deepmoviematch.data.arrays import Floats
from deepmoviematch.trainer.models.head_start import fit_last_layer
from deepmoviematch.trainer.models.loop import make_deterministic


def network(hidden: tuple[int, ...]) -> keras.Model:
    """Three inputs to two outputs, beside a layer of another name."""
    make_deterministic(1)
    inputs = found = keras.Input((3,))
    for place, width in enumerate(hidden):
        found = keras.layers.Dense(width, activation="relu", name=f"part_{place}")(found)
        found = keras.layers.Dropout(0.3, name=f"part_{place}_dropout")(found)
    found = keras.layers.Dense(2, name=f"part_{len(hidden)}")(found)
    return keras.Model(inputs, [found, keras.layers.Dense(2, name="parts_0")(inputs)])


def some_rows(seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(200, 3)).astype(np.float32)
    return inputs, np.stack([inputs[:, 0] - 2 * inputs[:, 1] + 3, inputs[:, 2]], axis=1)


def test_without_hidden_layers_it_is_a_regression_that_leaves_the_mean_free() -> None:
    inputs, wanted = some_rows(1)
    model = network(())
    untouched = model.get_layer("parts_0").get_weights()[0].tolist()
    fit_last_layer(model, "part", inputs, wanted, np.ones(200, np.float32))
    kernel, bias = model.get_layer("part_0").get_weights()
    # The inputs' variances are about 1, so that the penalty of a tenth takes a tenth of 200 rows in 220.
    assert kernel == pytest.approx(np.array([[1, 0], [-2, 0], [0, 1]]) * 200 / 220, abs=0.05)
    assert inputs.mean(axis=0) @ kernel + bias == pytest.approx(wanted.mean(axis=0), abs=1e-5)
    assert model.get_layer("parts_0").get_weights()[0].tolist() == untouched


def test_random_features_explain_what_they_can() -> None:
    inputs, wanted = some_rows(2)
    model = network((64, 32))
    before = model.get_layer("part_0").get_weights()[0].tolist()
    fit_last_layer(model, "part", inputs, wanted, np.ones(200, np.float32))
    left = model(inputs)[0].numpy() - wanted
    assert left.var() < 0.3 * wanted.var(axis=0).mean()
    assert model.get_layer("part_0").get_weights()[0].tolist() == before


def test_rows_count_by_their_weight() -> None:
    """Of two kinds of users that state the same, those of more weight are believed."""
    inputs = np.tile(np.array([[1, 0, 0], [0, 1, 0]], np.float32), (50, 1))
    wanted = np.repeat(np.array([[0, 0], [4, 4]], np.float32), 50, axis=0)
    model = network(())
    fit_last_layer(model, "part", inputs, wanted, np.repeat([3.0, 1.0], 50).astype(np.float32))
    assert model(inputs)[0].numpy() == pytest.approx(np.ones((100, 2)), abs=1e-3)


def test_inputs_that_are_all_alike_leave_the_mean() -> None:
    model = network((4,))
    fit_last_layer(
        model, "part", np.zeros((6, 3), np.float32), np.ones((6, 2), np.float32), np.ones(6, np.float32)
    )
    assert model(np.zeros((1, 3), np.float32))[0].numpy() == pytest.approx(np.ones((1, 2)), abs=1e-5)
