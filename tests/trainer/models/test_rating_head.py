from dataclasses import replace

import numpy as np
import pytest

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.rating_head import RatingHead
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.trainer.fit import fit_retrieval
from deepmoviematch.trainer.models.rating_head import fit_rating_head
from deepmoviematch.trainer.recipe import RetrievalRecipe

RECIPE = RetrievalRecipe(
    name="tiny", embedding_dim=8, hidden=(16,), epochs=2, batch_size=16, validation_share=0.2, patience=0
)


def test_an_item_that_nobody_rated_is_thought_average(ratings: Ratings) -> None:
    directions = np.eye(31, 4, dtype=np.float32)
    usual = fit_rating_head(ratings, directions).arrays["usual"]
    assert usual[30] == pytest.approx(ratings.stars.mean())
    assert np.ptp(usual) > 0


def test_axes_and_spread_are_those_of_the_average_rating(ratings: Ratings) -> None:
    directions = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    arrays = fit_rating_head(ratings, directions).arrays
    rated = directions[ratings.items]
    assert (arrays["axes"] * arrays["spread"]) @ arrays["axes"].T == pytest.approx(
        rated.T @ rated / len(ratings), abs=1e-5
    )


def test_a_rating_head_leaves_the_ranking_as_it_is(catalogue: Catalogue, ratings: Ratings) -> None:
    with_head = fit_retrieval(catalogue, ratings, RECIPE)
    without = fit_retrieval(catalogue, ratings, replace(RECIPE, rating_head=False))
    assert without.rating_head is None
    assert with_head.rating_head is not None
    assert "ratings" in with_head.metrics
    assert "ratings" not in without.metrics
    for one, other in zip(with_head.towers.export(), without.towers.export(), strict=True):
        assert one.to_files() == other.to_files()


def test_equal_ratings_leave_nothing_to_predict(catalogue: Catalogue, ratings: Ratings) -> None:
    praise = replace(ratings, ratings=np.full_like(ratings.ratings, 5.0))
    assert fit_retrieval(catalogue, praise, RECIPE).rating_head is None


def test_a_head_predicts_the_tastes_of_the_world(catalogue: Catalogue, ratings: Ratings) -> None:
    fitted = fit_retrieval(catalogue, ratings, RECIPE)
    assert fitted.rating_head is not None
    head = RatingHead(fitted.rating_head, fitted.towers.directions(), ratings.scale)
    found = head.predict({0: 5.0, 1: 5.0, 2: 5.0, 16: 1.0, 17: 1.0, 18: 1.0}, range(30))
    assert np.mean(found[3:15]) > np.mean(found[19:]) + 0.2
