import numpy as np
import pytest

from deepmoviematch.trainer.peers.baselines import RatingRows, bias_model, global_mean, item_mean, user_mean


def rows(*triples: tuple[int, int, float]) -> RatingRows:
    users, items, ratings = zip(*triples, strict=True)
    return RatingRows(np.array(users), np.array(items), np.array(ratings, dtype=np.float32))


TRAIN = rows((0, 0, 4), (0, 1, 2), (1, 0, 5))


def test_means_by_hand_and_the_global_mean_for_strangers() -> None:
    test = rows((0, 1, 0), (1, 0, 0), (2, 2, 0))
    mean = 11 / 3
    assert global_mean(TRAIN)(test) == pytest.approx([mean] * 3)
    assert user_mean(TRAIN)(test) == pytest.approx([3, 5, mean])
    assert item_mean(TRAIN)(test) == pytest.approx([2, 4.5, mean])


def test_the_bias_model_finds_the_biases_that_made_the_ratings() -> None:
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=40) / 2, rng.normal(size=30) / 2
    pairs = [(u, i) for u in range(40) for i in range(30)]
    order = rng.permutation(len(pairs))
    made = [(*pairs[n], float(3 + users[pairs[n][0]] + items[pairs[n][1]])) for n in order]
    predict = bias_model(rows(*made[:900]), seed=0)
    test = rows(*made[900:])
    assert np.abs(predict(test) - test.ratings).max() < 0.1


def test_ids_become_codes_that_are_shared_by_all_rows() -> None:
    made = RatingRows.of_ids(("b", "a", "b"), ("x", "x", "y"), np.array([1, 2, 3], dtype=np.float32))
    assert made.users.tolist() == [1, 0, 1]
    assert made.items.tolist() == [0, 0, 1]
    assert made.take(np.array([2])).ratings.tolist() == [3]
