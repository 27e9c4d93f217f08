import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.data.ratings import TOP_STARS
from deepmoviematch.trainer.models.views import (
    DECIDED,
    LONGEST_SHORT,
    MOST_TICKED,
    TICKING,
    RatedBy,
    View,
    history_view,
    sample_statements,
    short_view,
    stated_view,
)

seeds = st.integers(0, 1000)


def world(rng: np.random.Generator) -> RatedBy:
    """Five users who rated about half of 40 items each, and liked about half of those."""
    owners, items = np.nonzero(rng.random((5, 40)) < 0.5)
    return RatedBy(owners, items.astype(np.int32), rng.random(len(items)) < 0.6, 5)


def views(seed: int) -> tuple[RatedBy, list[View]]:
    rng = np.random.default_rng(seed)
    rated, stated = world(rng), np.full((5, 3), 4.0, dtype=np.float32)
    return rated, [
        history_view(rated, stated, (0.3, 0.8), rng, alone=0.4),
        short_view(rated, stated, rng),
        stated_view(rated, stated),
    ]


@given(seeds)
def test_a_like_is_either_known_or_asked_for_and_another_rating_never_asked_for(seed: int) -> None:
    rated, asked = views(seed)
    for view in asked:
        assert (view.likes ^ view.targets == rated.liked).all()
        assert not (view.others & rated.liked).any()


def test_some_users_tell_likes_alone_and_the_others_whatever_they_rated() -> None:
    users, liked = 2000, np.arange(10) < 5
    items = np.tile(np.arange(10, dtype=np.int32), users)
    rated = RatedBy(np.repeat(np.arange(users), 10), items, np.tile(liked, users), users)
    stated = np.full((users, 1), np.nan, dtype=np.float32)
    view = history_view(rated, stated, (0.5, 0.5), np.random.default_rng(1), alone=0.25)
    told = view.others.reshape(users, 10)[:, ~liked]
    tells = told.any(axis=1)
    assert tells.mean() == pytest.approx(0.75 * (1 - 0.5**5), abs=0.03)
    assert told[tells].mean() == pytest.approx(0.5 / (1 - 0.5**5), abs=0.03)
    assert view.likes.reshape(users, 10)[:, liked].mean() == pytest.approx(0.5, abs=0.03)


@given(seeds)
def test_a_short_history_has_one_to_six_likes_and_nothing_else(seed: int) -> None:
    rated, (_, short, _) = views(seed)
    counts = np.bincount(rated.owners[short.likes], minlength=5)
    likes = np.bincount(rated.owners[rated.liked], minlength=5)
    assert (counts >= np.minimum(1, likes)).all()
    assert (counts <= np.minimum(LONGEST_SHORT, likes)).all()
    assert not short.others.any()


def test_every_like_is_as_likely_to_be_in_a_short_history() -> None:
    size = 4000
    rated = RatedBy(
        np.repeat(np.arange(size), 10),
        np.tile(np.arange(10, dtype=np.int32), size),
        np.arange(10 * size) % 5 > 0,
        size,
    )
    rng = np.random.default_rng(0)
    short = short_view(rated, np.full((size, 3), np.nan, dtype=np.float32), rng)
    shares = short.likes.reshape(size, 10).mean(axis=0)
    # 3.5 of 8 likes on average, as one to six are equally likely; the two others never.
    assert shares == pytest.approx([0, *[3.5 / 8] * 4, 0, *[3.5 / 8] * 4], abs=0.03)


def test_stated_preferences_come_without_a_history() -> None:
    rated, (_, _, stated) = views(0)
    assert not stated.likes.any()
    assert not stated.others.any()
    assert (stated.targets == rated.liked).all()
    assert (stated.preferences == 4).all()


def test_some_users_with_a_history_state_preferences_and_some_do_not() -> None:
    rng = np.random.default_rng(0)
    rated = RatedBy(
        np.repeat(np.arange(1000), 8),
        np.tile(np.arange(8, dtype=np.int32), 1000),
        np.ones(8000, dtype=np.bool_),
        1000,
    )
    stated = np.full((1000, 3), 5.0, dtype=np.float32)
    share = np.isfinite(history_view(rated, stated, (0.3, 0.8), rng).preferences[:, 0]).mean()
    assert share == pytest.approx(0.3, abs=0.05)
    assert np.isfinite(short_view(rated, stated, rng).preferences[:, 0]).mean() == pytest.approx(
        0.5, abs=0.05
    )


def test_sampled_statements_are_exact_or_a_few_favourites_that_the_user_likes() -> None:
    shares = np.tile(np.array([0.5, 0.25, 0.0, 0.1, 0.1, 0.1, 0.1], dtype=np.float32), (2000, 1))
    said = sample_statements(shares, np.full(7, 0.25, dtype=np.float32), np.random.default_rng(0))
    favourites = np.isnan(said.preferences[:, 2])
    assert favourites.mean() == pytest.approx(TICKING, abs=0.05)
    assert (said.ticked[favourites] == (said.preferences[favourites] == TOP_STARS)).all()
    assert not said.ticked[~favourites].any()
    ticked = said.ticked[favourites]
    assert set(ticked.sum(axis=1)) == set(range(1, MOST_TICKED + 1))
    assert not ticked[:, 2].any()
    # A lift of 2, 1 and 0 (held at 1/8): a third of the way up from neutral, neutral, the lowest.
    assert said.preferences[~favourites][0, :3] == pytest.approx([3.5, 2.75, 0.5])


def test_who_is_more_decided_ticks_by_a_higher_power_of_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepmoviematch.trainer.models.views.MOST_TICKED", 1)
    shares = np.tile(np.array([0.6, 0.3], dtype=np.float32), (9000, 1))
    said = sample_statements(shares, np.full(2, 0.5, dtype=np.float32), np.random.default_rng(0))
    for number, power in enumerate(DECIDED):
        asked = (said.decided == number) & said.ticked.any(axis=1)
        first = said.ticked[asked, 0].mean()
        assert first == pytest.approx(2**power / (1 + 2**power), abs=0.03)
