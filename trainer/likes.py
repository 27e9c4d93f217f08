"""Who likes what, and of which genres. Symbols: `U` users, `B` of them asked for, `N` items, `G` genres."""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from deepmoviematch.data.arrays import Flags, Floats, Ints
from deepmoviematch.data.features import LIKE_STARS
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch


def like_matrix(ratings: Ratings, items: int) -> sparse.csr_matrix:
    """[U, N] float32 matrix with 1 where a user's rating is a like."""
    liked = ratings.stars >= LIKE_STARS
    return marked(ratings.users[liked], ratings.items[liked], (len(ratings.user_ids), items))


def popularity(ratings: Ratings, items: int) -> Floats:
    """[N] share of the users who liked each item."""
    likes = np.bincount(ratings.items[ratings.stars >= LIKE_STARS], minlength=items)
    return (likes / len(ratings.user_ids)).astype(np.float32)


def liked_histories(users: UserBatch, items: int) -> sparse.csr_matrix:
    """[B, N] the same of the histories that users tell."""
    liked = users.stars >= LIKE_STARS
    return marked(users.owners[liked], users.items[liked], (len(users), items))


def marked(rows: npt.NDArray[np.integer], columns: Ints, shape: tuple[int, int]) -> sparse.csr_matrix:
    """A float32 matrix with 1 in the cells given."""
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)


def genre_shares(likes: sparse.csr_matrix, genres: Flags) -> Floats:
    """[U, G] share of each genre in each user's likes; 0 for a user without likes."""
    counts = np.asarray(likes @ genres.astype(np.float32))
    shares: Floats = (counts / np.maximum(likes.getnnz(axis=1), 1)[:, None]).astype(np.float32)
    return shares


def base_shares(shares: Floats, likes: sparse.csr_matrix) -> Floats:
    """[G] mean of `genre_shares` over the users who like anything."""
    anyone = likes.getnnz(axis=1) > 0
    mean: Floats = shares[anyone].mean(axis=0) if anyone.any() else np.zeros(shares.shape[1], np.float32)
    return mean


def genre_lift(shares: Floats, base: Floats) -> Floats:
    """[U, G] shares over the base [G], 1 where nobody likes the genre."""
    return np.where(base > 0, shares / np.where(base > 0, base, 1), 1).astype(np.float32)
