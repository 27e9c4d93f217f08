import numpy as np
import pytest

from deepmoviematch.trainer.models import content
from deepmoviematch.trainer.models.content import PAIR, ContentRegression, genre_pairs


def test_without_a_penalty_it_finds_the_line_that_the_vectors_lie_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "PENALTY", 1e-9)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 3)).astype(np.float32)
    vectors = features @ np.array([[1, 2], [0, 1], [3, 0]], dtype=np.float32) + np.float32(7)
    vectors[20:] = 99  # nobody rated these
    counts = np.where(np.arange(30) < 20, rng.integers(1, 50, 30), 0)
    regression = ContentRegression(features, counts)
    kernel, bias = regression.fit(vectors)
    assert kernel == pytest.approx(np.array([[1, 2], [0, 1], [3, 0]]), abs=1e-4)
    assert bias == pytest.approx([7, 7], abs=1e-4)
    placed = regression.place(vectors)
    assert placed[:20].tolist() == vectors[:20].tolist()
    assert placed[20:] == pytest.approx(features[20:] @ kernel + bias)


def test_content_that_tells_nothing_leads_to_the_mean_of_what_was_rated_weighted_by_fourth_roots() -> None:
    vectors = np.array([[0, 3], [6, 0], [50, 50]], dtype=np.float32)
    regression = ContentRegression(np.ones((3, 2), dtype=np.float32), np.array([1, 16, 0]))
    assert regression.place(vectors)[2] == pytest.approx([4, 1])  # weights 1 to 2


def test_a_pair_of_genres_is_told_of_items_that_have_both() -> None:
    genres = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 0]], dtype=np.bool_)
    pairs = genre_pairs(genres)
    assert sorted(pairs.T.tolist()) == [[0, PAIR, 0, 0], [0, PAIR, 0, 0], [PAIR, PAIR, 0, 0]]


def test_of_very_many_pairs_the_most_common_ones_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MOST_PAIRS", 1)
    genres = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1], [1, 1, 0]], dtype=np.bool_)
    assert genre_pairs(genres).tolist() == [[PAIR], [PAIR], [0], [PAIR]]


@pytest.mark.parametrize("genres", [0, 1])
def test_too_few_genres_have_no_pairs(genres: int) -> None:
    assert genre_pairs(np.ones((3, genres), dtype=np.bool_)).shape == (3, 0)
