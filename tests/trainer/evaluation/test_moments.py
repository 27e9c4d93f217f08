import tracemalloc

import numpy as np
import pytest

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.evaluation import moments
from deepmoviematch.trainer.evaluation.protocols import Trial, new_users


@pytest.mark.parametrize("block", [1, 4, 1000])
def test_each_like_is_ranked_among_what_its_user_does_not_know(
    block: int, catalogue: Catalogue, ratings: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, rng = new_users(catalogue, ratings, 1), np.random.default_rng(1)
    sizes = len(trial.target_users), len(catalogue)
    vectors, items = (rng.normal(size=(size, 3)).astype(np.float32) for size in sizes)
    monkeypatch.setattr(moments, "BLOCK", block)
    found = moments._found(vectors, items, trial)
    for asked, (user, item) in enumerate(zip(trial.target_users, trial.target_items, strict=True)):
        scores = items @ vectors[asked]
        known = trial.hidden.slice(user, user + 1).items
        place = 1 + (np.delete(scores, known) > scores[item]).sum()
        assert found[asked] == pytest.approx(1 / np.log2(1 + place))


def test_a_user_with_many_likes_is_not_asked_for_all_of_them_at_once(ratings: Ratings) -> None:
    size = 2_000
    users = UserBatch.of(1, [{}], [{0: 5.0}])
    likes = np.arange(1, size, dtype=np.int32)
    trial = Trial(ratings, ("a",), users, users, np.zeros_like(likes), likes)
    vectors, items = np.ones((size - 1, 1), np.float32), np.ones((size, 1), np.float32)
    tracemalloc.start()
    try:
        moments._found(vectors, items, trial)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * size * size / 2  # half of all scores
