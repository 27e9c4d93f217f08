"""The moment is read where it decides what is liked, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.context import moments_of
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.fit import fit_retrieval
from deepmoviematch.trainer.models.moments import Signals, devices_of, features_of
from deepmoviematch.trainer.models.two_towers import TwoTowers
from deepmoviematch.trainer.recipe import RetrievalRecipe
from deepmoviematch.trainer.run import Fitted

ITEMS, USERS, EACH = 60, 150, 14
RECIPE = RetrievalRecipe(
    name="tiny",
    embedding_dim=32,
    hidden=(16,),
    epochs=3,
    batch_size=32,
    learning_rate=0.01,
    ease_penalty=20.0,
    validation_share=0.3,
    dropout=0.0,
    sequence_epochs=0,
)


@pytest.fixture(scope="module")
def things() -> Catalogue:
    """Every other item is for the odd users; of each kind every other one is for the second half."""
    rows = np.arange(ITEMS)
    return Catalogue(
        item_ids=tuple(f"i{row}" for row in rows),
        titles=tuple(f"Item {row}" for row in rows),
        years=np.zeros(ITEMS, dtype=np.int32),
        genre_names=("Odd",),
        genres=(rows % 2 == 1)[:, None],
    )


def rated(decides: str, *, seed: int = 8) -> Ratings:
    """Likes at random moments on two devices, of items of one half or the other as the moment decides."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(USERS, dtype=np.int32), EACH)
    times = rng.integers(0, 10**9, len(users))
    devices = rng.integers(0, 2, len(users)).astype(np.int32)
    halves = {"device": devices, "hour": times // 3600 % 24 >= 12, "nothing": rng.random(len(users)) < 0.5}
    items = np.zeros(len(users), dtype=np.int32)
    for user in range(USERS):
        free = [list(rng.permutation(ITEMS // 4) * 4 + user % 2 + 2 * half) for half in range(2)]
        for place in range(user * EACH, (user + 1) * EACH):
            items[place] = free[int(halves[decides][place])].pop()
    stars = np.where(rng.random(len(users)) < 0.2, 2.0, 5.0).astype(np.float32)
    ids = tuple(f"u{user}" for user in range(USERS))
    return Ratings.from_columns(
        ids, users, items, stars, times, devices=devices, device_names=("tv", "phone")
    )


@pytest.fixture(scope="module")
def by_device(things: Catalogue) -> Fitted[TwoTowers]:
    return fit_retrieval(things, rated("device"), RECIPE)


def second_half(towers: TwoTowers, moment: tuple[int, int, int]) -> float:
    """Share of the second half in the first eight items for an even user."""
    users = UserBatch.of(1, [{}], [{0: 5.0, 2: 5.0, 8: 5.0, 10: 5.0}])
    users = replace(users, moments=np.array([moment], dtype=np.int32))
    scores = towers.score(users)[0]
    scores[[0, 2, 8, 10]] = -np.inf
    return float(np.mean(np.argsort(-scores)[:8] // 2 % 2))


def test_a_device_that_decides_what_is_liked_is_read(by_device: Fitted[TwoTowers]) -> None:
    found = by_device.metrics["moments"]
    assert {name: figures["on"] for name, figures in found.items()} == {
        "hour": False,
        "weekday": False,
        "device": True,
    }
    assert found["device"]["added"]["low"] > 0
    towers = by_device.towers
    assert towers.moments is not None
    assert towers.moments.signals.devices == ("phone", "tv")
    assert second_half(towers, (-1, -1, 0)) >= 0.75
    assert second_half(towers, (-1, -1, 1)) <= 0.25


def test_only_what_is_read_is_exported(by_device: Fitted[TwoTowers]) -> None:
    weights, _ = by_device.towers.export()
    assert [name for name in weights.arrays if name.startswith("moment")] == ["moment_device"]
    assert weights.settings["devices"] == ["phone", "tv"]


def test_an_hour_that_decides_is_read_and_the_device_is_not(things: Catalogue) -> None:
    fitted = fit_retrieval(things, rated("hour"), RECIPE)
    assert {name for name, figures in fitted.metrics["moments"].items() if figures["on"]} == {"hour"}
    assert second_half(fitted.towers, (5, -1, 0)) <= 0.25
    assert second_half(fitted.towers, (18, -1, 0)) >= 0.75


def test_where_the_moment_decides_nothing_it_is_off_and_the_figures_say_so(things: Catalogue) -> None:
    fitted = fit_retrieval(things, rated("nothing"), RECIPE)
    assert fitted.towers.moments is None
    for figures in fitted.metrics["moments"].values():
        assert figures["added"]["low"] <= 0
        assert not figures["on"]


def test_who_tells_no_moment_is_answered_as_if_none_had_been_learnt(
    things: Catalogue, by_device: Fitted[TwoTowers]
) -> None:
    plain = fit_retrieval(things, rated("device"), replace(RECIPE, moment_epochs=0))
    assert "moments" in plain.metrics
    assert plain.towers.moments is None
    users = UserBatch.of(1, [{0: 5.0}, {}], [{3: 5.0, 9: 1.0}, {4: 4.0}])
    untold = replace(users, moments=np.full((2, 3), -1, dtype=np.int32))
    assert (by_device.towers.embed_users(users) == plain.towers.embed_users(users)).all()
    assert by_device.towers.embed_users(untold) == pytest.approx(plain.towers.embed_users(users), abs=1e-6)


def test_without_users_to_ask_nothing_of_the_moment_is_read(things: Catalogue) -> None:
    fitted = fit_retrieval(things, rated("device"), replace(RECIPE, validation_share=0.0))
    assert fitted.towers.moments is None


def test_features_are_what_the_data_tell_of_more_than_one_kind() -> None:
    ratings = rated("device")
    assert features_of(ratings) == ("hour", "weekday", "device")
    timeless = replace(ratings, timestamps=None)
    assert features_of(timeless) == ("device",)
    at_noon = replace(ratings, timestamps=np.full(len(ratings), 43_200), devices=None)
    assert features_of(at_noon) == ()


def test_devices_of_a_few_people_are_not_known() -> None:
    ratings = rated("device")
    devices = np.where(ratings.users < 9, 0, 1).astype(np.int32)
    few = replace(ratings, devices=devices)
    assert devices_of(few) == ("phone",)
    assert set(moments_of(few, devices_of(few))[:, 2]) == {-1, 0}
    assert devices_of(replace(few, devices=np.where(ratings.users < 10, 0, 1).astype(np.int32))) == (
        "phone",
        "tv",
    )


def test_signals_are_0_on_average_and_where_nothing_is_told() -> None:
    moments = moments_of(rated("device"), ("tv", "phone"))
    signals = Signals.of(moments, ("hour", "weekday", "device"), ("tv", "phone"))
    numbers = signals(moments)
    assert numbers.shape == (len(moments), 4 + 7 + 2)
    assert numbers.mean(axis=0) == pytest.approx(np.zeros(13), abs=1e-5)
    assert not signals(np.full((2, 3), -1, dtype=np.int32)).any()


def test_hours_on_both_sides_of_midnight_are_near() -> None:
    signals = Signals({"hour": np.zeros(4, dtype=np.float32)}, ())
    numbers = signals.of_feature("hour", np.arange(24, dtype=np.int32))
    steps = np.linalg.norm(numbers - np.roll(numbers, 1, axis=0), axis=1)
    assert steps == pytest.approx(np.full(24, steps[0]), abs=1e-5)


def test_signals_that_nobody_tells_are_numbers_all_the_same() -> None:
    signals = Signals.of(np.full((3, 3), -1, dtype=np.int32), ("hour", "device"), ("tv", "phone"))
    assert np.isfinite(signals(np.array([[5, 0, 1]], dtype=np.int32))).all()
