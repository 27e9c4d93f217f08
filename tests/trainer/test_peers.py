from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from deepmoviematch.data.features import UserBatch
from deepmoviematch.data.tables import Catalogue, Ratings
from deepmoviematch.trainer.ease import like_matrix
from deepmoviematch.trainer.peers import EaseRanker, GenrePopularity, ItemKnn, Popularity, Ranker


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
    likes = like_matrix(ratings, len(catalogue), threshold=4.0).toarray()
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
