from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.preprocessing import StandardScaler

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.fit import fit_seed
from deepmoviematch.trainer.models.loop import make_deterministic, train
from deepmoviematch.trainer.models.seed import SeedRows, SeedTask, SeedTowers
from deepmoviematch.trainer.recipe import SeedRecipe

RECIPE = SeedRecipe(name="seed", epochs=2, batch_size=32)


@pytest.fixture(scope="module")
def rows(catalogue: Catalogue, ratings: Ratings) -> SeedRows:
    return SeedRows.of_ratings(catalogue, ratings, RECIPE)


def test_it_is_the_plain_keras_model_of_those_layers(catalogue: Catalogue, rows: SeedRows) -> None:
    """The same start, the same batches: the same losses and the same ratings."""
    make_deterministic(1)
    towers = SeedTowers(rows, catalogue.genres, RECIPE)
    task = SeedTask(towers, rows, RECIPE)

    inputs, sides = [], []
    for ours in (towers.user, towers.item):
        side = keras.Sequential(
            [keras.layers.Dense(256, "relu"), keras.layers.Dense(128, "relu"), keras.layers.Dense(32)]
        )
        features = keras.Input((ours.input_shape[1],))
        sides.append(keras.layers.UnitNormalization(axis=1)(side(features)))
        side.set_weights(ours.get_weights())
        inputs.append(features)
    by_hand = keras.Model(inputs, keras.layers.Dot(axes=1)(sides))
    by_hand.compile(optimizer="adam", loss="mse")
    assert by_hand.count_params() == towers.user.count_params() + towers.item.count_params()

    expected = []
    for epoch in range(RECIPE.epochs):
        losses = []
        for users, items, targets in task.batches(epoch):
            by_hand.reset_metrics()
            losses.append(float(by_hand.train_on_batch([users, items], targets)))
        expected.append(np.mean(losses))
    curves = train(task, "fit", measure=task.measure, epochs=RECIPE.epochs, seed=1)
    assert [row["loss"] for row in curves] == pytest.approx(expected, abs=1e-5)

    scaled = [tf.constant(part) for part in towers.scaled(rows.users[:9], rows.items[:9])]
    products = by_hand(scaled).numpy()[:, 0]
    low, high = rows.ratings[rows.train].min(), rows.ratings[rows.train].max()
    assert towers.predict(rows.users[:9], rows.items[:9]) == pytest.approx(
        low + (products + 1) / 2 * (high - low), abs=1e-3
    )


def test_it_has_as_many_parameters_as_the_layers_say(catalogue: Catalogue, rows: SeedRows) -> None:
    towers = SeedTowers(rows, catalogue.genres, RECIPE)
    genres, features = 3, 5  # year, average rating, three genres
    deep = 256 * 128 + 128 + 128 * 32 + 32
    assert towers.user.count_params() == genres * 256 + 256 + deep
    assert towers.item.count_params() == features * 256 + 256 + deep


def test_features_come_from_the_training_rows_alone(catalogue: Catalogue, ratings: Ratings) -> None:
    """A user's mean per genre and an item's mean, counted by hand for one row of the test set."""
    rows = SeedRows.of_ratings(catalogue, ratings, RECIPE)
    row = int(rows.test[0])
    user, item = ratings.users[row], ratings.items[row]
    train = np.isin(np.arange(len(ratings)), rows.train)
    for genre in range(3):
        given = ratings.ratings[train & (ratings.users == user) & catalogue.genres[ratings.items, genre]]
        assert rows.users[row, genre] == pytest.approx(given.mean() if len(given) else 0, abs=1e-5)
    of_item = ratings.ratings[train & (ratings.items == item)]
    assert rows.items[row, 1] == pytest.approx(of_item.mean(), abs=1e-5)
    assert rows.feature_names == ("year", "ave rating", "Funny", "Sad", "Short")


def test_an_unknown_year_is_an_average_one(catalogue: Catalogue, rows: SeedRows) -> None:
    known = catalogue.years[catalogue.years > 0].mean()
    assert rows.catalogue[13, 0] == pytest.approx(known)


def test_the_inputs_are_standardised_over_the_training_rows(catalogue: Catalogue, rows: SeedRows) -> None:
    towers = SeedTowers(rows, catalogue.genres, RECIPE)
    expected = StandardScaler().fit(rows.users[rows.train]).transform(rows.users)
    assert towers.scaled(rows.users, rows.items)[0] == pytest.approx(expected, abs=1e-6)


def test_without_the_average_rating_the_item_tower_sees_year_and_genres(
    catalogue: Catalogue, ratings: Ratings
) -> None:
    rows = SeedRows.of_ratings(catalogue, ratings, SeedRecipe(name="letter", average_rating=False))
    assert rows.feature_names == ("year", "Funny", "Sad", "Short")
    assert rows.items.shape == (len(ratings), 4)


def test_it_learns_the_two_tastes_from_genre_averages(catalogue: Catalogue, rows: SeedRows) -> None:
    fitted = fit_seed(catalogue, rows, SeedRecipe(name="seed", epochs=15, batch_size=32))
    mean_only = float(np.var(rows.ratings[rows.test]) / 4)  # ratings 1..5 are scaled by 2
    assert fitted.metrics["test_mse"] < 0.3 * mean_only
    funny, sad = fitted.towers.score(UserBatch.of(3, [{0: 5.0, 1: 1.0}, {0: 1.0, 1: 5.0}], [{}, {}]))
    assert funny[:15].mean() > funny[15:].mean()
    assert sad[:15].mean() < sad[15:].mean()


def test_the_same_seed_gives_the_same_bits(catalogue: Catalogue, rows: SeedRows) -> None:
    first, second = (fit_seed(catalogue, rows, RECIPE).towers for _ in range(2))
    for one, other in zip(first.export(), second.export(), strict=True):
        assert one.to_files() == other.to_files()


def test_test_rows_are_measured_without_training(
    catalogue: Catalogue, rows: SeedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    towers = SeedTowers(rows, catalogue.genres, RECIPE)
    task, said = SeedTask(towers, rows, RECIPE), []

    def user(features: tf.Tensor, *, training: bool) -> tf.Tensor:
        said.append(training)
        return tf.zeros((len(features), RECIPE.embedding_dim))

    monkeypatch.setattr(towers, "user", user)
    assert task.measure()["test_mse"] == pytest.approx(
        np.mean(towers.target_scaler.transform(rows.ratings[rows.test][:, None]) ** 2)
    )
    assert said == [False]


def test_a_catalogue_without_genres_is_refused(catalogue: Catalogue, ratings: Ratings) -> None:
    bare = replace(catalogue, genre_names=(), genres=catalogue.genres[:, :0])
    rows = SeedRows.of_ratings(bare, ratings, RECIPE)
    with pytest.raises(TrainingError, match="reads tastes off genres, got a catalogue without any"):
        fit_seed(bare, rows, RECIPE)
