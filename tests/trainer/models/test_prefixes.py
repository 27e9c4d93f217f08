import numpy as np
from hypothesis import given, strategies as st

from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.models.prefixes import later_likes, later_ratings, prefixes


def rated(users: list[int], stars: list[float]) -> Ratings:
    """Each rates items 10, 11 and so on, one after the other; users come in order."""
    owners = np.array(users, dtype=np.int32)
    return Ratings.from_columns(
        tuple(f"u{user}" for user in range(max(users) + 1)),
        owners,
        np.arange(10, 10 + len(users), dtype=np.int32),
        np.array(stars, dtype=np.float32),
        np.arange(len(users), dtype=np.int64),
    )


def test_all_but_the_first_of_each_user_can_be_asked_for_with_what_came_before() -> None:
    ratings = rated([0, 0, 0, 1, 2, 2], [5, 1, 4, 5, 3, 5])
    assert later_ratings(ratings).tolist() == [1, 2, 5]
    assert later_likes(ratings).tolist() == [2, 5]
    known = prefixes(ratings, later_likes(ratings), genres=2)
    assert known.offsets.tolist() == [0, 2, 3]
    assert known.items.tolist() == [10, 11, 14]
    assert known.stars.tolist() == [5, 1, 3]
    assert known.preferences.shape == (2, 2)
    assert np.isnan(known.preferences).all()
    assert known.asks_next.all()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data())
def test_a_later_like_is_a_like_and_has_a_history(sizes: list[int], data: st.DataObject) -> None:
    users = [user for user, size in enumerate(sizes) for _ in range(size)]
    stars = data.draw(st.lists(st.sampled_from([1.0, 4.0, 5.0]), min_size=len(users), max_size=len(users)))
    ratings = rated(users, stars)
    likes = later_likes(ratings)
    assert (ratings.stars[likes] >= 4).all()
    assert (prefixes(ratings, likes).history_sizes >= 1).all()
    assert len(later_ratings(ratings)) == len(users) - len(sizes)
