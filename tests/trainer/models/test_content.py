import numpy as np
import pytest

from deepmoviematch.trainer.models import content
from deepmoviematch.trainer.models.content import LIKENESS, REACH, ContentRegression, likeness


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


@pytest.mark.parametrize("block", [7, 4])
def test_it_says_the_same_of_a_few_items_at_a_time(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    rng = np.random.default_rng(3)
    features, vectors = (
        rng.normal(size=(30, 3)).astype(np.float32),
        rng.normal(size=(30, 2)).astype(np.float32),
    )
    counts = rng.integers(0, 3, 30)
    likenesses, placed = [], []
    for size in (30, block):
        monkeypatch.setattr(content, "BLOCK", size)
        likenesses.append(likeness(features))
        placed.append(ContentRegression(features, counts).place(vectors))
    assert likenesses[1] == pytest.approx(likenesses[0], abs=1e-5)
    assert placed[1] == pytest.approx(placed[0], abs=1e-5)


def test_content_that_tells_nothing_leads_to_the_mean_of_what_was_rated_weighted_by_fourth_roots() -> None:
    vectors = np.array([[0, 3], [6, 0], [50, 50]], dtype=np.float32)
    regression = ContentRegression(np.ones((3, 2), dtype=np.float32), np.array([1, 16, 0]))
    assert regression.place(vectors)[2] == pytest.approx([4, 1])  # weights 1 to 2


def test_likeness_is_a_gaussian_of_the_distance_between_contents() -> None:
    content = np.array([[0, 0], [1, 0], [1, 2], [0, 0]], dtype=np.float32)
    features = likeness(content)
    assert features.shape == (4, 3)  # of four items three differ
    squares = np.array([[0, 1, 5, 0], [1, 0, 4, 1], [5, 4, 0, 5], [0, 1, 5, 0]])
    assert features @ features.T == pytest.approx(LIKENESS**2 * np.exp(-REACH * squares), abs=0.01)


def test_of_very_many_items_a_few_are_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "LANDMARKS", 2)
    features = likeness(np.arange(10, dtype=np.float32)[:, None])
    assert features.shape == (10, 2)
    nearest = features[1:] @ features[:-1].T
    assert np.isfinite(nearest).all()


def test_likeness_bends_what_is_fitted() -> None:
    years = np.linspace(-2, 2, 401, dtype=np.float32)[:, None]
    counts = np.where(np.arange(401) % 4 == 1, 0, 5)
    bent, straight = (
        ContentRegression(features, counts).place(10 * years**2)
        for features in (np.concatenate([years, likeness(years)], axis=1), years)
    )
    unseen = counts == 0
    errors = [np.abs(found - 10 * years**2)[unseen].mean() for found in (bent, straight)]
    assert errors[0] < 0.3 * errors[1]
