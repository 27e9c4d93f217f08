"""Explanations say what the numbers say."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.server.ranking import explanation
from deepmoviematch.server.ranking.explanation import MAX_PARTS, Explanation, explain
from deepmoviematch.server.ranking.question import Listing, Taste
from deepmoviematch.server.ranking.recommender import Recommender

ITEMS, GENRES = 25, 5

stars = st.floats(0.5, 5, width=32)
tastes = st.builds(
    Taste,
    preferences=st.dictionaries(st.integers(0, GENRES - 1), stars),
    history=st.dictionaries(st.integers(0, ITEMS - 1), stars),
    asks_next=st.booleans(),
    moment=st.fixed_dictionaries(
        {}, optional={"hour": st.integers(0, 23), "weekday": st.integers(0, 6), "device": st.integers(0, 1)}
    ),
)


def explained(
    recommender: Recommender, taste: Taste, limit: int = ITEMS
) -> tuple[list[int], list[float], list[Explanation]]:
    answer = recommender.recommend(taste, Listing(limit))
    return list(answer.rows), list(answer.scores), explain(recommender.generation, taste, answer)


@given(taste=tastes)
def test_everything_adds_up_to_the_score(recommender: Recommender, taste: Taste) -> None:
    rows, scores, explanations = explained(recommender, taste)
    assert len(explanations) == len(rows) == ITEMS
    known = bool(taste.history or taste.preferences)
    for score, each in zip(scores, explanations, strict=True):
        assert each.score == pytest.approx(score, abs=1e-5)
        parts = [part for _, part in (*each.history, *each.genres)]
        whole = sum(parts) + sum(part for _, part in each.moment)
        assert each.baseline + whole + each.others + each.gap == pytest.approx(each.score, abs=1e-5)
        assert {feature for feature, _ in each.moment} == (taste.moment.keys() if known else set())
        assert abs(each.gap) <= 1e-3
        assert len(parts) == (min(MAX_PARTS, len(taste.history) + len(taste.preferences)) if known else 0)
        for entries, given_ in ((each.history, taste.history), (each.genres, taste.preferences)):
            assert {key for key, _ in entries} <= given_.keys()
            sizes = [abs(part) for _, part in entries]
            assert sizes == sorted(sizes, reverse=True)


@given(taste=tastes)
def test_the_nearest_liked_item_and_the_genres_it_shares_are_named(
    recommender: Recommender, taste: Taste
) -> None:
    generation = recommender.generation
    liked = [row for row, given_ in taste.history.items() if given_ >= 4]
    for row, _, each in zip(*explained(recommender, taste), strict=True):
        if not (taste.history or taste.preferences):
            assert (each.nearest, each.shared) == (None, ())
            continue
        cosines = {other: float(generation.directions[row] @ generation.directions[other]) for other in liked}
        cosines.pop(row, None)
        assert (each.nearest is None) == (not cosines)
        if each.nearest is not None:
            assert each.nearest[1] == pytest.approx(max(cosines.values()), abs=1e-5)
            assert cosines[each.nearest[0]] == pytest.approx(each.nearest[1], abs=1e-5)
        flags = generation.catalogue.genres
        shared = {
            genre
            for genre in range(GENRES)
            if flags[row, genre]
            and (taste.preferences.get(genre, 0) > 2.75 or any(flags[other, genre] for other in liked))
        }
        assert set(each.shared) == shared


def test_popular_items_are_said_to_be_popular(recommender: Recommender) -> None:
    rows, scores, explanations = explained(recommender, Taste(), 3)
    for row, score, each in zip(rows, scores, explanations, strict=True):
        share = float(recommender.generation.popularity[row])
        assert each._replace(sentence="") == Explanation("", share, share)
        assert each.sentence.endswith(f"popular items are shown: {share:.0%} of all users like this one.")
        assert score == share


def test_only_the_first_results_are_explained(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explanation, "MAX_EXPLAINED", 3)
    assert len(explained(recommender, Taste(history={1: 5.0}))[2]) == 3


def test_the_rest_of_a_long_history_is_one_sum(recommender: Recommender) -> None:
    taste = Taste(history=dict.fromkeys(range(ITEMS), 5.0))
    every, *_ = explained(recommender, taste)[2]
    assert len(every.history) == MAX_PARTS
    assert every.others != 0


LIKED, RATED, LOVED_GENRE, HATED_GENRE, TOLD_GENRE = range(5)


@pytest.mark.parametrize(
    ("parts", "difference", "sentence"),
    [
        ([0.3, 0, 0, 0, 0], 0.3, "Raised most by liking Heat (1995)."),
        (
            [0.3, 0.1, 0.2, 0, 0],
            0.6,
            "Raised most by liking Heat (1995), a taste for Funny and the rating of Nowhen.",
        ),
        ([0.3, 0.07, 0, 0, 0], 0.37, "Raised most by liking Heat (1995)."),
        ([-0.1, 0, 0, 0.3, 0], 0.2, "Raised most by a distaste for Sad, lowered most by liking Heat (1995)."),
        ([-0.05, 0, 0, 0.3, 0], 0.25, "Raised most by a distaste for Sad."),
        (
            [0, -0.3, 0, 0, -0.1],
            -0.4,
            "Lowered most by the rating of Nowhen; "
            "all in all it scores less than for a user of whom nothing is known.",
        ),
        ([0, 0, 0, 0, 2e-4], 2e-4, "Moved by nothing that is known of the user."),
        ([0, 0, 0, 0, 0.2], 0.2, "Raised most by the stars for Short."),
    ],
)
def test_a_sentence_names_what_matters_and_praises_nothing_else(
    parts: list[float], difference: float, sentence: str
) -> None:
    catalogue = Catalogue(
        item_ids=("a", "b"),
        titles=("Heat", "Nowhen"),
        years=np.array([1995, 0], dtype=np.int32),
        genre_names=("Funny", "Sad", "Short"),
        genres=np.zeros((2, 3), dtype=np.bool_),
    )
    taste = Taste(history={0: 4.0, 1: 3.5}, preferences={0: 5.0, 1: 1.0, 2: 2.75})
    causes = explanation._Causes(catalogue, taste)
    assert explanation._Causes(catalogue, Taste(history={1: 1.0}))[0] == "the low rating of Nowhen"
    assert explanation._sentence(np.array(parts, dtype=np.float32), causes, difference) == sentence
