from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import Mock

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from scipy import sparse

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation.protocols import new_users
from deepmoviematch.trainer.evaluation.ranking import rank
from deepmoviematch.trainer.fit import fit_retrieval
from deepmoviematch.trainer.models import retrieval, teacher
from deepmoviematch.trainer.models.loop import make_deterministic
from deepmoviematch.trainer.models.retrieval import RetrievalTask
from deepmoviematch.trainer.models.teacher import Known
from deepmoviematch.trainer.models.two_towers import TwoTowers
from deepmoviematch.trainer.peers.rankers import Popularity
from deepmoviematch.trainer.recipe import RetrievalRecipe

RECIPE = RetrievalRecipe(
    name="tiny",
    embedding_dim=8,
    hidden=(16,),
    epochs=4,
    batch_size=16,
    ease_penalty=5.0,
    validation_share=0.2,
    patience=0,
    refit=False,
)


@pytest.fixture(scope="module")
def towers(catalogue: Catalogue, ratings: Ratings) -> TwoTowers:
    return fit_retrieval(catalogue, ratings, RECIPE).towers


def untrained(catalogue: Catalogue, ratings: Ratings, recipe: RetrievalRecipe) -> TwoTowers:
    return TwoTowers(catalogue, np.bincount(ratings.items, minlength=len(catalogue)), recipe)


def test_the_same_seed_gives_the_same_bits(towers: TwoTowers, catalogue: Catalogue, ratings: Ratings) -> None:
    again = fit_retrieval(catalogue, ratings, RECIPE).towers
    for one, other in zip(towers.export(), again.export(), strict=True):
        assert one.to_files() == other.to_files()


def test_another_seed_gives_other_weights(towers: TwoTowers, catalogue: Catalogue, ratings: Ratings) -> None:
    recipe = replace(RECIPE, seed=2)
    other = fit_retrieval(catalogue, ratings, recipe).towers
    assert towers.export()[0].to_files() != other.export()[0].to_files()


def test_triplets_add_to_the_loss_by_their_weight(catalogue: Catalogue, ratings: Ratings) -> None:
    losses = []
    for weight in (0.0, 1.0, 3.0):
        recipe = replace(RECIPE, dropout=0.0, triplet_weight=weight, triplet_margin=2.0)
        make_deterministic(recipe.seed)
        task = RetrievalTask(untrained(catalogue, ratings, recipe), catalogue, ratings, recipe)
        losses.append(float(task.loss(*map(tf.constant, next(task.batches(0))))))
    plain, once, thrice = losses
    assert once > plain
    assert thrice - plain == pytest.approx(3 * (once - plain), rel=1e-3)


def test_it_beats_popularity_for_users_it_has_not_seen(catalogue: Catalogue, ratings: Ratings) -> None:
    trial = new_users(catalogue, ratings, 5, share=0.3)
    towers = fit_retrieval(catalogue, trial.train, RECIPE).towers
    ours = rank(towers, trial, catalogue).per_user["ndcg@10"].mean()
    theirs = rank(Popularity(catalogue, trial.train), trial, catalogue).per_user["ndcg@10"].mean()
    assert ours > theirs + 0.1


def test_a_stated_genre_brings_its_items_up(towers: TwoTowers) -> None:
    funny, sad = towers.score(UserBatch.of(3, [{0: 5.0}, {1: 5.0}], [{}, {}]))
    assert funny[:15].mean() - funny[15:].mean() > sad[:15].mean() - sad[15:].mean()


def test_a_like_and_a_dislike_of_the_same_item_are_told_apart(towers: TwoTowers) -> None:
    liked, disliked = towers.score(UserBatch.of(3, [{}, {}], [{0: 5.0, 1: 5.0}, {0: 1.0, 1: 1.0}]))
    assert liked[2:15].mean() - liked[15:].mean() > disliked[2:15].mean() - disliked[15:].mean()


def test_the_towers_start_as_ease(
    catalogue: Catalogue, ratings: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many dimensions as items nothing of EASE is lost, and the MLPs are still silent."""
    monkeypatch.setattr(retrieval, "interest_signal", lambda *_: 1.0)
    recipe = replace(RECIPE, embedding_dim=30)
    towers = untrained(catalogue, ratings, recipe)
    task = RetrievalTask(towers, catalogue, ratings, recipe)
    liking = dict.fromkeys(range(8), 5.0)
    users = UserBatch.of(3, [{}] * 3, [liking, {20: 1.0}, liking | {20: 1.0}])
    rows = np.eye(30, dtype=np.float32)
    known = Known(*map(sparse.csr_matrix, ([rows[:8].sum(axis=0), 0 * rows[20]], [0 * rows[0], rows[20]])))
    everything = np.arange(30, dtype=np.int32)
    liked, disliked = 60 * task.teacher.score(known, everything)
    alone, _ = 60 * task.likes_teacher.score(known, everything)
    disliked *= (3 / 9) ** 0.5  # a third of the ratings are no likes
    expected = [alone / 8**0.5, disliked, liked / 8**0.5 + disliked]
    scores = towers.embed_tastes(users) @ towers.item_vectors().T
    assert scores == pytest.approx(np.stack(expected), abs=0.01)
    assert np.abs(liked - alone).max() > 0.1


@pytest.mark.parametrize("largest", [30, 10], ids=["exact", "of low rank"])
def test_the_scale_is_of_those_who_share_a_taste_even_where_most_do_not(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    monkeypatch.setattr(teacher, "LARGEST", largest)
    users, items = np.nonzero(np.random.default_rng(1).random((16, 12)) < 0.5)
    scales = []
    for alone in (0, 18):  # each of them likes one item that nobody else rated
        rows = np.arange(alone)
        known = Ratings.from_columns(
            tuple(map(str, range(16 + alone))),
            np.concatenate([users, 16 + rows]).astype(np.int32),
            np.concatenate([items, 12 + rows]).astype(np.int32),
            np.full(len(users) + alone, 5, dtype=np.float32),
            None,
        )
        scales.append(RetrievalTask(untrained(catalogue, known, RECIPE), catalogue, known, RECIPE).log_scale)
    assert scales[1] == pytest.approx(scales[0], abs=1)


def test_an_item_without_ratings_is_embedded_from_its_content(catalogue: Catalogue, ratings: Ratings) -> None:
    cold = 4
    known = ratings.take(ratings.items != cold)
    towers = fit_retrieval(catalogue, known, RECIPE).towers
    assert not towers.rated[cold]
    assert towers.embed_items(tf.constant([cold])).numpy() == pytest.approx(0, abs=1e-6)  # nothing learnt
    assert towers.item_vectors()[cold].any()
    funny, sad = towers.score(UserBatch.of(3, [{0: 5.0}, {1: 5.0}], [{}, {}]))
    assert funny[cold] > sad[cold]


def test_a_ranking_places_items_once_and_the_next_epoch_anew(
    catalogue: Catalogue, ratings: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = ratings.take(ratings.items != 4)
    towers = untrained(catalogue, known, RECIPE)
    RetrievalTask(towers, catalogue, known, RECIPE)  # gives them something to place by
    place = Mock(wraps=towers._regression.place)
    monkeypatch.setattr(towers._regression, "place", place)
    users = UserBatch.of(3, [{0: 5.0}], [{}])
    before = towers.score(users)
    assert (towers.score(users) == before).all()
    assert place.call_count == 1
    ids = towers.item.get_layer("ids")
    ids.set_weights([2 * weights for weights in ids.get_weights()])
    assert towers.score(users) == pytest.approx(2 * before, abs=1e-5)
    assert place.call_count == 2


def test_items_that_nobody_rated_are_not_in_the_running(catalogue: Catalogue, ratings: Ratings) -> None:
    """Nobody can like them, and their content must not be blamed for it."""
    recipe, cold = replace(RECIPE, dropout=0.0), 4
    known = ratings.take(ratings.items != cold)
    towers = untrained(catalogue, known, recipe)
    task = RetrievalTask(towers, catalogue, known, recipe)
    with tf.GradientTape() as tape:
        items = towers.embed_items(tf.range(30))
        towers.embed_items = partial(tf.gather, items)  # type: ignore[method-assign]
        loss = task.loss(*map(tf.constant, next(task.batches(0))))
    pushed = tf.convert_to_tensor(tape.gradient(loss, items)).numpy()
    assert not pushed[cold].any()
    assert pushed.any(axis=1).sum() == 29


def test_a_batch_asks_for_likes_that_are_not_known(catalogue: Catalogue, ratings: Ratings) -> None:
    recipe = replace(RECIPE, alone_share=0.5, history_share=(0.8, 0.8))
    task = RetrievalTask(untrained(catalogue, ratings, recipe), catalogue, ratings, recipe)
    batch: tuple[npt.NDArray[Any], ...] = next(task.batches(0))
    likes, like_values, alone, alone_values, others, *_ = batch
    items, correction, known_cells, targets, taught, followed, scale = batch[-7:]
    size = RECIPE.batch_size
    assert items.tolist() == list(range(30))  # so columns are rows
    assert not correction.any()
    assert set(alone[:, 0])
    assert not set(alone[:, 0]) & set(others[:, 0])
    assert set(alone[:, 0]) | set(others[:, 0]) <= set(range(size))  # short histories are a few likes
    known, asked = {tuple(cell) for part in (likes, alone, others) for cell in part}, set(map(tuple, targets))
    assert len(known) == len(likes) + len(alone) + len(others)
    assert known == set(map(tuple, known_cells))
    assert not known & asked
    assert {user for user, _ in known} <= set(range(2 * size))  # the last third tells preferences alone
    assert {user for user, _ in asked} <= set(range(3 * size))
    counts = np.bincount(np.concatenate([likes, alone])[:, 0], minlength=3 * size)
    assert like_values == pytest.approx(counts[likes[:, 0]] ** -0.5)
    assert alone_values == pytest.approx(counts[alone[:, 0]] ** -0.5)
    assert taught.shape == (3 * size * 30,)
    assert followed.shape == scale.shape == (3 * size,)
    long, short, stated = np.split(followed, 3)
    for part, share, told in zip(
        (long, short), (RECIPE.distillation, RECIPE.short_distillation), np.split(counts, 3), strict=False
    ):
        assert part == pytest.approx(np.where(told > 0, share, 0))  # no likes, no teacher
    assert set(stated) == {0, np.float32(RECIPE.stated_distillation)}  # some tick favourites
    assert (scale > 0).all()


def test_of_a_draw_a_batch_holds_what_is_asked_for_and_some_others(
    catalogue: Catalogue, ratings: Ratings
) -> None:
    recipe = replace(RECIPE, softmax_items=4, batch_size=1)
    task = RetrievalTask(untrained(catalogue, ratings, recipe), catalogue, ratings, recipe)
    batch: tuple[npt.NDArray[Any], ...]
    for batch in task.batches(0):
        likes, alone, (items, correction, known, targets, teacher) = batch[0], batch[2], batch[-7:-2]
        assert len(items) < 30
        assert not correction[targets[:, 1]].any()  # surely there
        assert correction.min() >= 0
        assert teacher.shape == (3 * len(items),)
        told = {(user, item) for user, item in np.concatenate([likes, alone]) if item in items}
        assert told <= {(user, items[column]) for user, column in known}


def test_towers_learn_from_a_draw_what_they_learn_from_the_whole(
    towers: TwoTowers, catalogue: Catalogue, ratings: Ratings
) -> None:
    drawn = fit_retrieval(catalogue, ratings, replace(RECIPE, softmax_items=5, batch_size=4)).towers
    funny, sad = drawn.score(UserBatch.of(3, [{0: 5.0}, {1: 5.0}], [{}, {}]))
    assert funny[:15].mean() - funny[15:].mean() > sad[:15].mean() - sad[15:].mean()


@pytest.mark.parametrize("users", [1, 2])
def test_too_few_users_to_validate_on_are_all_trained_on(
    catalogue: Catalogue, ratings: Ratings, users: int
) -> None:
    fitted = fit_retrieval(catalogue, ratings.take(ratings.users < users), RECIPE)
    assert fitted.metrics == {"protocol": "new-users", "users": 0}
    assert np.isfinite(fitted.towers.score(UserBatch.of(3, [{}], [{0: 5.0}]))).all()


def test_ratings_without_a_like_teach_nothing_and_are_refused(catalogue: Catalogue, ratings: Ratings) -> None:
    with pytest.raises(TrainingError, match="4 of 5 stars or more, got none among 180 ratings of 1 to 5"):
        fit_retrieval(catalogue, ratings.take(ratings.stars < 4), RECIPE)


def test_a_catalogue_without_genres_is_learnt_from_histories_alone(
    catalogue: Catalogue, ratings: Ratings
) -> None:
    bare = replace(catalogue, genre_names=(), genres=catalogue.genres[:, :0])
    towers = fit_retrieval(bare, ratings, RECIPE).towers
    (scores,) = towers.score(UserBatch.of(0, [{}], [{0: 5.0, 1: 5.0}]))
    assert scores[2:15].mean() > scores[15:].mean()
