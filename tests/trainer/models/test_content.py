import numpy as np
import pytest

from deepmoviematch.trainer.models import content
from deepmoviematch.trainer.models.content import ContentRegression


def test_without_a_penalty_it_finds_the_line_that_the_vectors_lie_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "PENALTY", 1e-9)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 3)).astype(np.float32)
    vectors = features @ np.array([[1, 2], [0, 1], [3, 0]], dtype=np.float32) + np.float32(7)
    vectors[20:] = 99  # nobody rated these
    counts = np.where(np.arange(30) < 20, rng.integers(1, 50, 30), 0)
    found = ContentRegression.fit(features, vectors, counts)
    assert found.kernel == pytest.approx(np.array([[1, 2], [0, 1], [3, 0]]), abs=1e-4)
    assert found.bias == pytest.approx([7, 7], abs=1e-4)
    assert found(features[:20]) == pytest.approx(vectors[:20], abs=1e-3)


def test_content_that_tells_nothing_leads_to_the_mean_of_what_was_rated_weighted_by_roots() -> None:
    vectors = np.array([[0, 3], [6, 0], [50, 50]], dtype=np.float32)
    found = ContentRegression.fit(np.ones((3, 2), dtype=np.float32), vectors, np.array([4, 16, 0]))
    assert found(np.ones((1, 2), dtype=np.float32))[0] == pytest.approx([4, 1])  # weights 1 to 2
