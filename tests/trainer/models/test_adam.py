import keras
import numpy as np
import pytest
import tensorflow as tf

from deepmoviematch.data.arrays import Floats
from deepmoviematch.trainer.models import adam
from deepmoviematch.trainer.models.adam import Adam
from deepmoviematch.trainer.models.loop import Optimizer

STEPS = 12


def stepped(optimizer: Optimizer, variables: list[keras.Variable]) -> list[Floats]:
    """What `variables` are after steps along gradients drawn by chance, two more than were planned."""
    rng = np.random.default_rng(2)
    optimizer.build(variables)
    apply = tf.function(lambda *gradients: optimizer.apply(gradients, variables))
    for _ in range(STEPS + 2):
        apply(*(tf.constant(rng.normal(size=each.shape), tf.float32) for each in variables))
    return [each.numpy() for each in variables]


def start(scale: float = 1.0) -> list[keras.Variable]:
    rng = np.random.default_rng(1)
    return [keras.Variable(scale * rng.normal(size=shape), dtype="float32") for shape in ((5, 3), (4,), ())]


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_what_starts_at_0_steps_as_keras_lets_it(decay: float) -> None:
    ours, theirs = start(0), start(0)
    keras_own = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.1, STEPS), weight_decay=decay)
    keras_own.exclude_from_weight_decay(var_list=[theirs[2]])
    expected = stepped(keras_own, theirs)
    found = stepped(Adam(0.1, STEPS, decay=decay, decaying=ours[:2]), ours)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=2e-5)


def test_decay_is_towards_the_start_wherever_that_is() -> None:
    near, far = start(0), start()
    stepped(Adam(0.1, STEPS, decay=0.2, decaying=near), near)
    stepped(Adam(0.1, STEPS, decay=0.2, decaying=far), far)
    for one, other, before in zip(near, far, start(), strict=True):
        assert other.numpy() - before.numpy() == pytest.approx(one.numpy(), abs=1e-5)


def test_the_fast_step_four_times_as_far() -> None:
    plain, fast = start(), start()
    stepped(Adam(0.1, STEPS), plain)
    stepped(Adam(0.1, STEPS, fast=[fast[1]]), fast)
    for place, before in enumerate(start()):
        moved = [each[place].numpy() - before.numpy() for each in (fast, plain)]
        assert moved[0] == pytest.approx((4 if place == 1 else 1) * moved[1], rel=1e-4)


@pytest.mark.parametrize("large", [4, 5], ids=["rows alone", "the whole table"])
def test_rows_that_repeat_in_a_gradient_are_added_up(monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    """Where every row is met in every step, stepping with rows alone is stepping with the whole table."""
    monkeypatch.setattr(adam, "LARGE", large)
    tables = [keras.Variable(np.ones((5, 2)), dtype="float32") for _ in range(2)]
    rows, values = [0, 1, 2, 3, 4, 3, 0], np.random.default_rng(3).normal(size=(7, 2)).astype(np.float32)
    for table, dense in zip(tables, (False, True), strict=True):
        gradient = tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant([5, 2]))
        optimizer = Adam(0.1, STEPS, decay=0.2, decaying=[table])
        optimizer.build([table])
        for _ in range(5):
            optimizer.apply([tf.convert_to_tensor(gradient) if dense else gradient], [table])
    assert tables[0].numpy() == pytest.approx(tables[1].numpy(), abs=1e-5)


def test_of_a_large_table_rows_without_a_gradient_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adam, "LARGE", 2)
    table = keras.Variable(np.ones((3, 1)), dtype="float32")
    optimizer = Adam(0.1, STEPS, decay=0.2, decaying=[table])
    optimizer.build([table])
    for row in (0, 0, 2):
        optimizer.apply([tf.IndexedSlices(tf.ones((1, 1)), tf.constant([row]), tf.constant([3, 1]))], [table])
    assert table.numpy()[1] == 1
    assert table.numpy()[0] < table.numpy()[2] < 1
