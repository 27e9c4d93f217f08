import numpy as np
from scipy import sparse

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.likes import genre_lift, genre_shares, like_matrix, liked_histories


def test_the_like_matrix_has_a_one_for_each_rating_of_four_stars_or_more(
    catalogue: Catalogue, ratings: Ratings
) -> None:
    matrix = like_matrix(ratings, len(catalogue))
    assert matrix.shape == (60, 30)
    assert matrix.getnnz(axis=1).tolist() == [9] * 60
    assert set(matrix.data) == {1.0}
    told = liked_histories(UserBatch.of_histories(ratings, 3), len(catalogue))
    assert np.array_equal(told.toarray(), matrix.toarray())


def test_shares_and_lift_of_genres_by_hand() -> None:
    likes = sparse.csr_matrix(np.array([[1, 1, 0], [0, 0, 0]], dtype=np.float32))
    genres = np.array([[True, False, False], [True, True, False], [False, True, False]])
    shares = genre_shares(likes, genres)
    assert shares.tolist() == [[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]]
    lift = genre_lift(shares, np.array([0.5, 0.5, 0.0], dtype=np.float32))
    assert lift.tolist() == [[2.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
