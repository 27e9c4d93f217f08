from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer import settled as module
from deepmoviematch.trainer.models.teacher import Known
from deepmoviematch.trainer.recipe import RetrievalRecipe
from deepmoviematch.trainer.settled import PENALTIES, WIDTHS, settled

OPEN = RetrievalRecipe(name="open", embedding_dim=0, epochs=0, ease_penalty=0.0)
USERS, SERIES = 300, 100


def world(series: int, *, users: int = USERS, told: int = 12) -> tuple[Catalogue, Ratings]:
    """Items in series of three; users like most of what there is of `told` series, and nothing else."""
    rng = np.random.default_rng(1)
    liked = np.argsort(rng.random((users, series)), axis=1) < told
    owners, items = np.nonzero(np.repeat(liked, 3, axis=1) & (rng.random((users, 3 * series)) < 0.9))
    size = 3 * series
    catalogue = Catalogue(
        item_ids=tuple(map(str, range(size))),
        titles=tuple(map(str, range(size))),
        years=np.full(size, 2000, dtype=np.int32),
        genre_names=(),
        genres=np.zeros((size, 0), dtype=np.bool_),
    )
    ratings = Ratings.from_columns(
        tuple(map(str, range(users))),
        owners.astype(np.int32),
        items.astype(np.int32),
        np.full(len(items), 5, dtype=np.float32),
        None,
    )
    return catalogue, ratings


def test_what_a_recipe_says_is_left_as_it_is() -> None:
    recipe = replace(OPEN, embedding_dim=8, epochs=3, ease_penalty=5.0)
    assert settled(recipe, *world(SERIES)) is recipe
    assert settled(replace(recipe, embedding_dim=0), *world(SERIES)).ease_penalty == 5
    assert settled(replace(recipe, ease_penalty=0.0), *world(SERIES)).embedding_dim == 8


def likers(users: int, likes: int) -> Ratings:
    """So many users who like so many items each, and one who likes none."""
    return Ratings.from_columns(
        tuple(map(str, range(users + 1))),
        np.repeat(np.arange(users + 1), likes).astype(np.int32),
        np.tile(np.arange(likes), users + 1).astype(np.int32),
        np.repeat([5, 1], [users * likes, likes]).astype(np.float32),
        None,
    )


@pytest.mark.parametrize(
    ("users", "likes", "epochs"),
    [
        (5_000, 40, 30),
        (5_000, 80, 30),
        (5_000, 20, 15),  # half as many likes, half as many epochs
        (5_000, 2, 4),  # 30 * 2 / 40 would be 1.5; each has 105 steps, so that 3.8 make 400
        (480, 4, 30),  # of ten steps each
        (3, 4, 30),
        (100_000, 4, 3),  # each asks for 16,384 of them
    ],
)
def test_who_likes_little_is_asked_for_less_often(users: int, likes: int, epochs: int) -> None:
    recipe = replace(OPEN, embedding_dim=8, ease_penalty=5.0)
    catalogue, _ = world(SERIES)
    assert settled(recipe, catalogue, likers(users, likes)).epochs == epochs


def test_many_independent_tastes_need_a_wide_embedding_and_a_few_do_not() -> None:
    assert settled(OPEN, *world(SERIES)).embedding_dim > 64  # there is a direction to each series
    assert settled(OPEN, *world(20)).embedding_dim == WIDTHS[0]


def test_where_too_much_is_rated_to_solve_again_and_again_it_is_as_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_CELLS", 10_000)
    recipe = settled(OPEN, *world(SERIES))
    assert (recipe.embedding_dim, recipe.ease_penalty) == (WIDTHS[0], PENALTIES[0])


@pytest.mark.parametrize(
    ("figures", "penalty"),
    [
        ([[0.5, 0.5], [0.6, 0.62], [0.5, 0.5], [0.4, 0.4], [0.3, 0.3]], PENALTIES[1]),
        ([[0.5, 0.5], [0.2, 0.9], [0.5, 0.5], [0.4, 0.4], [0.3, 0.3]], PENALTIES[0]),
    ],
    ids=["clearly better", "better by chance"],
)
def test_another_penalty_must_be_better_than_the_usual_one_by_a_standard_error(
    monkeypatch: pytest.MonkeyPatch, figures: list[list[float]], penalty: float
) -> None:
    said = iter(figures)
    monkeypatch.setattr(module, "_ndcg", lambda *_: np.array(next(said)))
    assert settled(replace(OPEN, embedding_dim=8), *world(SERIES)).ease_penalty == penalty


@pytest.mark.parametrize(
    ("figures", "width"),
    [
        ([0.505, 0.5], 64),  # wider, then the one before it
        ([0.506, 0.5, 0.511, 0.506], 128),
        ([0.506, 0.5, 0.512, 0.506, 0.517, 0.512], 256),
        ([0.506, 0.5, 0.512, 0.506, 0.518, 0.512], 512),
    ],
)
def test_a_wider_embedding_must_rank_better_by_a_hundredth(
    monkeypatch: pytest.MonkeyPatch, figures: list[float], width: int
) -> None:
    said = iter(figures)
    monkeypatch.setattr(module, "_ndcg", lambda *_: np.array([next(said)]))
    assert settled(replace(OPEN, ease_penalty=5.0), *world(SERIES)).embedding_dim == width


def test_clear_likes_want_little_regularisation() -> None:
    assert settled(OPEN, *world(SERIES)).ease_penalty < PENALTIES[0]


def test_too_few_users_leave_it_as_usual() -> None:
    recipe = settled(OPEN, *world(SERIES, users=100))
    assert (recipe.embedding_dim, recipe.ease_penalty) == (WIDTHS[0], PENALTIES[0])


def test_the_same_data_settle_the_same() -> None:
    assert settled(OPEN, *world(40)) == settled(OPEN, *world(40))


def test_what_is_told_is_never_asked_for_and_everyone_asked_has_a_target() -> None:
    likes = sparse.csr_matrix((np.random.default_rng(2).random((30, 8)) < 0.3).astype(np.float32))
    nothing = sparse.csr_matrix(likes.shape, dtype=np.float32)
    told, targets = module._parted(Known(likes, nothing), np.random.default_rng(3))
    assert not told.likes.multiply(targets).nnz
    assert (targets.getnnz(axis=1) > 0).all()


def test_what_is_told_is_not_in_the_running() -> None:
    scores = np.array([[9, 5, 8, 7, 1]], dtype=np.float32)
    likes, others, targets = (
        sparse.csr_matrix(np.eye(5, dtype=np.float32)[rows].sum(axis=0, keepdims=True))
        for rows in ([0], [2], [1, 3])
    )
    assert module._ndcg(scores, Known(likes, others), targets) == pytest.approx([1])
