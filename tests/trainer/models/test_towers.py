"""The Keras towers and their NumPy twins are one model."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.context import FEATURES
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.towers import item_tower, user_tower
from deepmoviematch.trainer.models.markov import Markov
from deepmoviematch.trainer.models.moments import Moments, Signals
from deepmoviematch.trainer.models.order import Order
from deepmoviematch.trainer.models.seed import SeedRows, SeedTowers
from deepmoviematch.trainer.models.towers import moment_tower, sequence_tower
from deepmoviematch.trainer.models.two_towers import TwoTowers
from deepmoviematch.trainer.recipe import RetrievalRecipe, SeedRecipe

RETRIEVAL = RetrievalRecipe(name="tiny", embedding_dim=6, hidden=(8, 5))
SEED = SeedRecipe(name="tiny", embedding_dim=6, hidden=(8, 5))


def shake(models: list[keras.Model], seed: int) -> None:
    """Give every weight a random value, so that no part of a tower is silent."""
    rng = np.random.default_rng(seed)
    for model in models:
        model.set_weights([rng.normal(scale=0.5, size=w.shape) for w in model.get_weights()])


def sample_users(seed: int) -> UserBatch:
    """Six users: with nothing, preferences alone, histories alone, both; some ask what is next.

    One has a longer history of likes alone.

    Most tell something of the moment.
    """
    rng = np.random.default_rng(seed)
    stated = [{}, {0: 5.0}, {}, {0: 0.5, 2: 4.0}, {}, {1: 3.0}]
    lengths = [0, 0, 1, 3, 12, 30]
    histories = [
        {int(item): float(rng.choice([0.5, 3.5, 4.0, 5.0])) for item in rng.permutation(30)[:length]}
        for length in lengths
    ]
    histories[4] = dict.fromkeys(histories[4], 4.0)
    users = UserBatch.of(3, stated, histories, list(rng.random(6) < 0.5))
    moments = np.stack([rng.integers(-1, 24, 6), rng.integers(-1, 7, 6), rng.integers(-1, 3, 6)], axis=1)
    return replace(users, moments=moments.astype(np.int32))


@pytest.fixture(scope="module")
def two_towers(catalogue: Catalogue) -> TwoTowers:
    towers = TwoTowers(catalogue, np.arange(30) % 5, RETRIEVAL)  # some items never had a rating
    rng = np.random.default_rng(0)
    tables = (rng.normal(size=(30, 4)).astype(np.float32) for _ in range(2))
    towers.agreement = rng.normal(size=(6, 6)).astype(np.float32)
    towers.order = Order(sequence_tower(30, hidden=(8, 5), dim=6, dropout=0.0), Markov(*tables))
    seen = rng.integers(0, [24, 7, 3], (40, 3)).astype(np.int32)
    signals = Signals.of(seen, FEATURES, ("phone", "tv", "wall"))
    towers.moments = Moments(moment_tower(signals.width, dim=6), signals)
    return towers


@pytest.fixture(scope="module")
def seed_towers(catalogue: Catalogue, ratings: Ratings) -> SeedTowers:
    return SeedTowers(SeedRows.of_ratings(catalogue, ratings, SEED), catalogue.genres, SEED)


@settings(max_examples=25)
@given(weights=st.integers(0, 10_000), inputs=st.integers(0, 10_000))
def test_the_retrieval_towers_agree_to_1e_5(
    two_towers: TwoTowers, catalogue: Catalogue, weights: int, inputs: int
) -> None:
    assert two_towers.order is not None
    assert two_towers.moments is not None
    shake([two_towers.user, two_towers.item, two_towers.order.tower, two_towers.moments.tower], weights)
    user_weights, item_weights = two_towers.export()
    users, items = user_tower(user_weights), item_tower(item_weights)
    batch = sample_users(inputs)

    vectors = users.embed(batch)
    assert vectors[:, :-1] == pytest.approx(two_towers.embed_users(batch), abs=1e-5)
    assert (vectors[:, -1] == 0).all()

    keras_items = two_towers.item_vectors()
    largest = np.linalg.norm(keras_items, axis=1).max()
    embedded = items.embed(catalogue)
    assert embedded[:, :-1] == pytest.approx(keras_items / largest, abs=1e-5)
    assert np.linalg.norm(embedded, axis=1) == pytest.approx(np.ones(30), abs=1e-5)
    directions = items.directions(embedded)
    assert directions[:, :-1] == pytest.approx(two_towers.directions(), abs=1e-4)
    assert (directions[:, -1] == 0).all()

    following = users.embed_next(batch) @ items.embed_next(catalogue).T
    wanted = two_towers.score(replace(batch, asks_next=np.ones(6, dtype=np.bool_)))
    embedded = two_towers.order.embed(two_towers.embed_users(batch), batch)
    lengths = np.linalg.norm(embedded, axis=1, keepdims=True)
    largest = np.linalg.norm(two_towers.order.items(keras_items), axis=1).max()
    assert following == pytest.approx(wanted / lengths / largest, abs=1e-5)


@settings(max_examples=25)
@given(weights=st.integers(0, 10_000), inputs=st.integers(0, 10_000))
def test_the_seed_towers_agree_to_1e_5(
    seed_towers: SeedTowers, catalogue: Catalogue, weights: int, inputs: int
) -> None:
    shake([seed_towers.user, seed_towers.item], weights)
    user_weights, item_weights = seed_towers.export()
    users, items = user_tower(user_weights), item_tower(item_weights)
    batch = sample_users(inputs)
    assert items.embed(catalogue) == pytest.approx(seed_towers.item_vectors(), abs=1e-5)
    products = users.embed(batch) @ items.embed(catalogue).T
    assert products == pytest.approx(seed_towers.score(batch), abs=1e-5)


def test_the_extra_axis_keeps_the_order_of_the_longer_vectors(
    two_towers: TwoTowers, catalogue: Catalogue
) -> None:
    shake([two_towers.user, two_towers.item], 3)
    user_weights, item_weights = two_towers.export()
    batch = sample_users(3).slice(1, 6)
    batch = replace(batch, asks_next=np.zeros(len(batch), dtype=np.bool_))
    served = user_tower(user_weights).embed(batch) @ item_tower(item_weights).embed(catalogue).T
    trained = two_towers.score(batch)
    scale = np.linalg.norm(two_towers.item_vectors(), axis=1).max()
    assert served == pytest.approx(trained / scale, abs=1e-5)


def test_weights_on_disk_make_the_same_tower(
    two_towers: TwoTowers, catalogue: Catalogue, tmp_path: Path
) -> None:
    shake([two_towers.user, two_towers.item], 4)
    user_weights, item_weights = two_towers.export()
    user_weights.save(tmp_path / "user")
    item_weights.save(tmp_path / "item")
    batch = sample_users(4)
    assert same(
        user_tower(Weights.load(tmp_path / "user")).embed(batch), user_tower(user_weights).embed(batch)
    )
    assert same(
        item_tower(Weights.load(tmp_path / "item")).embed(catalogue),
        item_tower(item_weights).embed(catalogue),
    )


def test_a_saved_keras_tower_gives_the_same_vectors_without_our_code(
    two_towers: TwoTowers, tmp_path: Path
) -> None:
    shake([two_towers.user, two_towers.item], 5)
    path = tmp_path / "user_tower.keras"
    two_towers.user.save(path)
    again = keras.saving.load_model(path, compile=False)
    batch = sample_users(5)
    before = two_towers.embed_users(batch)
    two_towers.user.set_weights([np.zeros_like(w) for w in two_towers.user.get_weights()])
    two_towers.user.set_weights(again.get_weights())
    assert same(two_towers.embed_users(batch), before)


def test_a_catalogue_without_genres_has_towers_too(catalogue: Catalogue) -> None:
    bare = Catalogue(
        item_ids=catalogue.item_ids,
        titles=catalogue.titles,
        years=np.zeros_like(catalogue.years),
        genre_names=(),
        genres=catalogue.genres[:, :0],
    )
    towers = TwoTowers(bare, np.ones(30, dtype=np.int64), RETRIEVAL)
    user_weights, item_weights = towers.export()
    vectors = user_tower(user_weights).embed(UserBatch.of(0, [{}, {}], [{}, {3: 5.0}]))
    scores = vectors @ item_tower(item_weights).embed(bare).T
    assert np.isfinite(scores).all()


def same(left: Floats, right: Floats) -> bool:
    return left.dtype == right.dtype and bool((left == right).all())
