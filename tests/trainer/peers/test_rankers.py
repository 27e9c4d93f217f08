from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from deepmoviematch.data.arrays import Doubles
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.likes import like_matrix
from deepmoviematch.trainer.peers import rankers
from deepmoviematch.trainer.peers.rankers import (
    EaseRanker,
    GenrePopularity,
    Ials,
    ItemKnn,
    Popularity,
    Ranker,
)


def fan_of_the_first_half() -> UserBatch:
    return UserBatch.of(3, [{}], [{0: 5.0, 3: 4.0, 29: 1.0}])


def test_popularity_counts_likes_and_is_the_same_for_everyone(catalogue: Catalogue, ratings: Ratings) -> None:
    scores = Popularity(catalogue, ratings).score(UserBatch.of(3, [{}, {}], [{0: 5.0}, {}]))
    liked = ratings.items[ratings.stars >= 4]
    assert scores[0].tolist() == np.bincount(liked, minlength=30).tolist()
    assert (scores[0] == scores[1]).all()


@pytest.mark.parametrize(
    "make",
    [
        partial(GenrePopularity, strength=1.0),
        partial(ItemKnn, neighbours=20),
        partial(EaseRanker, penalty=10.0),
    ],
    ids=["popularity x genre", "item-knn", "ease"],
)
def test_a_personal_peer_prefers_the_half_that_the_user_likes(
    make: Callable[[Catalogue, Ratings], Ranker], catalogue: Catalogue, ratings: Ratings
) -> None:
    (scores,) = make(catalogue, ratings).score(fan_of_the_first_half())
    assert scores[:15].mean() > scores[15:].mean()


def test_item_knn_sums_cosines_with_the_likes_alone(catalogue: Catalogue, ratings: Ratings) -> None:
    likes = like_matrix(ratings, len(catalogue)).toarray()
    norms = np.linalg.norm(likes, axis=0)
    cosines = likes.T @ likes / np.outer(norms, norms)
    np.fill_diagonal(cosines, 0)
    (scores,) = ItemKnn(catalogue, ratings, len(catalogue) - 1).score(fan_of_the_first_half())
    assert scores == pytest.approx(cosines[0] + cosines[3], abs=1e-5)


def test_neighbours_that_tie_at_the_cut_are_kept_up_to_the_number() -> None:
    """Five items liked by the same users are equally near to each other."""
    catalogue = Catalogue(
        tuple("abcde"), tuple("abcde"), np.zeros(5, np.int32), (), np.zeros((5, 0), dtype=np.bool_)
    )
    users, items = np.divmod(np.arange(15), 5)
    ratings = Ratings(
        ("u", "v", "w"), users.astype(np.int32), items.astype(np.int32), np.ones(15, np.float32), None
    )
    scores = ItemKnn(catalogue, ratings, 2).score(UserBatch.of(0, [{}], [dict.fromkeys(range(5), 5.0)]))
    assert scores == pytest.approx(np.full((1, 5), 2.0))


def test_neighbours_are_the_same_whatever_the_block(
    catalogue: Catalogue, ratings: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ItemKnn(catalogue, ratings, 8).score(fan_of_the_first_half())
    monkeypatch.setattr(rankers, "BLOCK", 7)
    assert ItemKnn(catalogue, ratings, 8).score(fan_of_the_first_half()) == pytest.approx(whole)


@pytest.mark.parametrize("strength", [0.0, 4096.0])
def test_no_strength_of_genres_is_too_large(strength: float, catalogue: Catalogue, ratings: Ratings) -> None:
    scores = GenrePopularity(catalogue, ratings, strength).score(fan_of_the_first_half())
    assert np.isfinite(scores).all()
    if strength == 0:
        plain = Popularity(catalogue, ratings).score(fan_of_the_first_half())
        assert np.argsort(-scores, kind="stable").tolist() == np.argsort(-plain, kind="stable").tolist()


def als(
    likes: Doubles, factors: int, regularization: float, alpha: float, *, sweeps: int
) -> tuple[Doubles, Doubles]:
    """Alternating least squares as in the paper: a like weighs `alpha`, everything else weighs 1."""
    items = np.random.default_rng(3).normal(0, 0.1, (likes.shape[1], factors))
    users = solved(likes, items, regularization, alpha)
    for _ in range(sweeps):
        items = solved(likes.T, users, regularization, alpha)
        users = solved(likes, items, regularization, alpha)
    return users, items


def solved(likes: Doubles, others: Doubles, regularization: float, alpha: float) -> Doubles:
    """The factors of each row that fit its likes best, given those of the columns."""
    weights = np.where(likes > 0, alpha, 1.0)
    return np.array(
        [
            np.linalg.solve(
                (others * weight[:, None]).T @ others + regularization * np.eye(others.shape[1]),
                (others * weight[:, None]).T @ like,
            )
            for like, weight in zip(likes, weights, strict=True)
        ]
    )


def test_ials_solves_what_the_paper_asks_for(catalogue: Catalogue, ratings: Ratings) -> None:
    likes = like_matrix(ratings, len(catalogue)).toarray().astype(np.float64)
    regularization, alpha = 1.0, 4.0
    users, items = als(likes, 4, regularization, alpha, sweeps=60)
    everyone = UserBatch.of_histories(ratings, len(catalogue.genre_names))
    scores = Ials(catalogue, ratings, 4, regularization, alpha).score(everyone)

    def misfit(predicted: Doubles, users: Doubles, items: Doubles) -> float:
        weights = np.where(likes > 0, alpha, 1.0)
        lengths = regularization * ((users**2).sum() + (items**2).sum())
        return float((weights * (likes - predicted) ** 2).sum() + lengths)

    model = Ials(catalogue, ratings, 4, regularization, alpha)._model
    theirs = np.asarray(model.item_factors, dtype=np.float64)
    folded = solved(likes, theirs, regularization, alpha)
    assert scores == pytest.approx(folded @ theirs.T, abs=2e-3)  # a new user's factors are the exact ones
    ours = misfit(users @ items.T, users, items)
    assert misfit(folded @ theirs.T, folded, theirs) == pytest.approx(ours, rel=0.02)
