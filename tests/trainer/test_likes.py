import numpy as np
from scipy import sparse

from deepmoviematch.trainer.likes import genre_lift, genre_shares


def test_shares_and_lift_of_genres_by_hand() -> None:
    likes = sparse.csr_matrix(np.array([[1, 1, 0], [0, 0, 0]], dtype=np.float32))
    genres = np.array([[True, False, False], [True, True, False], [False, True, False]])
    shares = genre_shares(likes, genres)
    assert shares.tolist() == [[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]]
    lift = genre_lift(shares, np.array([0.5, 0.5, 0.0], dtype=np.float32))
    assert lift.tolist() == [[2.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
