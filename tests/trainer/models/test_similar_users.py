from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from deepmoviematch.data.arrays import Floats
from deepmoviematch.trainer.models import similar_users
from deepmoviematch.trainer.models.similar_users import SimilarUsers

LIKES = np.array(
    [[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]],
    dtype=np.float32,
)
"""Of four users, the last likes nothing; nobody likes the last item."""


ALL = np.arange(4, dtype=np.int32)


def fitted_on(interests: Floats) -> SimilarUsers:
    """What is learnt from neighbours alone."""
    return replace(with_prior(interests), prior=np.zeros(4, dtype=np.float32))


def with_prior(interests: Floats) -> SimilarUsers:
    return SimilarUsers.fit(sparse.csr_matrix(LIKES), sparse.csr_matrix(interests), seed=1)


def _history(*items: int) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(items), np.float32), ([0] * len(items), items)), shape=(1, 4))


def test_users_predict_what_they_like_by_the_square_of_the_cosine() -> None:
    # Told item 0, by the last user: the first and the third also like it, with lists of 2 and 3.
    # Squared similarities are r / 2 and r / 3 for some r, so they weigh 3 to 2, and together like
    # items 0 and 1 both, and item 2 by the third alone.
    fitted = fitted_on(LIKES)
    chances = fitted.chances(_history(0), np.array([3]), ALL)
    assert chances[0] == pytest.approx(np.array([5, 5, 2, 0]) / 12)


def test_what_similar_users_rated_and_did_not_like_counts_for_less() -> None:
    # As above, but the third user also rated the last item: 2 of 12 parts become 2 + 2 / 4 of 12.5.
    interests = LIKES.copy()
    interests[2, 3] = 0.25
    chances = fitted_on(interests).chances(_history(0), np.array([3]), ALL)
    assert chances[0] == pytest.approx(np.array([5, 5, 2, 0.5]) / 12.5)


def test_shares_are_of_the_whole_catalogue_whatever_is_asked_about() -> None:
    fitted = fitted_on(LIKES)
    whole = fitted.chances(_history(0), np.array([3]), ALL)
    assert fitted.chances(_history(0), np.array([3]), ALL[1:3])[0] == pytest.approx(whole[0, 1:3])


def test_a_rarer_item_says_more() -> None:
    fitted = fitted_on(LIKES)
    rare, common = (np.log(4 / count) for count in (2, 3))
    assert fitted.profiles[0, 0] == pytest.approx(rare / np.sqrt(2))
    assert fitted.profiles[1, 0] == pytest.approx(common / np.sqrt(2))


def test_nobody_is_their_own_neighbour() -> None:
    fitted = fitted_on(LIKES)
    chances = fitted.chances(_history(0), np.array([2]), ALL)  # the first user is left
    assert chances[0] == pytest.approx(np.array([1, 1, 0, 0]) / 2)


def test_what_interests_everybody_counts_as_half_of_what_a_like_says() -> None:
    # A neighbour with n likes has the similarity r^2 / n to who likes an item of rarity r, and n likes:
    # r^2 in all. Each like of items 0 and 2 meets one neighbour, each of item 1 two: of 7 likes
    # 4 say a^2 and 3 say 2 b^2. Popularities are 2, 3, 2 and 0 of 7.
    a, b = np.log(4 / 2), np.log(4 / 3)
    prior = 0.5 * (4 * a**2 + 3 * 2 * b**2) / 7 * np.array([2, 3, 2, 0]) / 7
    fitted = with_prior(LIKES)
    assert fitted.prior == pytest.approx(prior)
    expected = a**2 * np.array([5, 5, 2, 0]) / 6 + prior  # as told item 0, above
    assert fitted.chances(_history(0), np.array([3]), ALL)[0] == pytest.approx(expected / expected.sum())


def test_a_history_like_nobody_elses_predicts_what_interests_everybody() -> None:
    chances = with_prior(LIKES).chances(_history(3), np.array([3]), ALL)
    assert chances[0] == pytest.approx(np.array([2, 3, 2, 0]) / 7)


def test_no_history_predicts_nothing() -> None:
    assert not with_prior(LIKES).chances(_history(), np.array([3]), ALL).any()


def test_of_very_many_users_a_sample_is_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar_users, "MOST_USERS", 2)
    fitted = fitted_on(LIKES)
    assert fitted.interests.shape == (2, 4)
    assert np.isin(fitted.rows, [0, 1, 2]).all()
