from collections.abc import Callable, Set
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.context import FEATURES, UNTOLD
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.search.hnsw import HnswIndex
from deepmoviematch.indexer.search.selection import Selection
from deepmoviematch.server.ranking.question import Listing, Origin, Seeds, Style, Taste
from deepmoviematch.server.ranking.recommender import NEGATIVE_SHARE, Recommender

ITEMS, GENRES = 25, 5

rows = st.integers(0, ITEMS - 1)
stars = st.floats(0.5, 5, width=32)
allowances = st.none() | arrays.arrays(np.bool_, ITEMS).map(Selection)
tastes = st.builds(
    Taste,
    preferences=st.dictionaries(st.integers(0, GENRES - 1), stars, max_size=GENRES),
    history=st.dictionaries(rows, stars, max_size=8),
    asks_next=st.booleans(),
    moment=st.fixed_dictionaries(
        {}, optional={"hour": st.integers(0, 23), "weekday": st.integers(0, 6), "device": st.integers(0, 1)}
    ),
)
listings = st.builds(
    Listing,
    limit=st.integers(1, ITEMS + 5),
    start=st.just(0),
    ahead=st.just(0),
    excluded=st.frozensets(rows, max_size=ITEMS),
    allowed=allowances,
    style=st.none(),
    only_plan=st.just(False),
)
styles = st.none() | st.builds(
    Style, st.just(0.5), st.just(0.5), st.integers(0, 3), st.sampled_from([0.0, 0.5]), st.binary(max_size=1)
)


def running(excluded: Set[int], allowed: Selection | None) -> list[int]:
    return [row for row in range(ITEMS) if row not in excluded and (allowed is None or allowed.flags[row])]


@pytest.fixture(scope="module")
def approximate(recommender: Recommender) -> Recommender:
    """The same vectors, with graphs to search them by."""
    generation = recommender.generation
    return Recommender(
        replace(
            generation,
            index=HnswIndex.of(generation.index.exact.view),
            next_index=HnswIndex.of(generation.next_index.exact.view),
            similar=HnswIndex.of(generation.directions),
        )
    )


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has graphs followed even in a tiny catalogue."""
    monkeypatch.setattr("deepmoviematch.indexer.search.approximate.COMPARED_UP_TO", 1)
    monkeypatch.setattr("deepmoviematch.indexer.search.approximate.FILTERED_UP_TO", 1)
    monkeypatch.setattr("deepmoviematch.indexer.search.hnsw.COMPARED", 0)


def true_scores(generation: Generation, taste: Taste) -> Floats:
    users = UserBatch.of(GENRES, [taste.preferences], [taste.history])
    told = [[taste.moment.get(feature, UNTOLD) for feature in FEATURES]]
    users = replace(users, moments=np.array(told, dtype=np.int32))
    if not users.has_features[0]:
        return generation.popularity
    tower, index = generation.user_tower, generation.next_index if taste.asks_next else generation.index
    vectors = tower.embed_next(users) if taste.asks_next else tower.embed(users)
    scores: Floats = index.exact.view @ vectors[0]
    return scores


@st.composite
def seeds(draw: st.DrawFn) -> Seeds:
    named = draw(st.lists(rows, min_size=1, max_size=7, unique=True))
    positive = draw(st.integers(1, len(named)))
    return Seeds(named[:positive], named[positive:])


@given(taste=tastes, listing=listings)
def test_recommend_returns_the_best_of_what_is_allowed_and_not_excluded(
    recommender: Recommender, taste: Taste, listing: Listing
) -> None:
    answer = recommender.recommend(taste, listing)
    scores = true_scores(recommender.generation, taste)
    left = running(listing.excluded, listing.allowed)
    best = sorted(scores[left], reverse=True)[: listing.limit]
    assert len(set(answer.rows)) == len(answer.rows)
    assert set(answer.rows) <= set(left)
    assert answer.scores == pytest.approx(best, abs=1e-5)
    assert scores[list(answer.rows)] == pytest.approx(answer.scores, abs=1e-5)
    assert answer.filtered_out == ITEMS - len(left)
    assert answer.exhausted == (len(answer.rows) == len(left))


@given(data=st.data())
def test_a_batch_is_answered_like_its_users_one_by_one_to_the_bit(
    recommender: Recommender, data: st.DataObject
) -> None:
    allowed = st.sampled_from(data.draw(st.lists(allowances, min_size=1, max_size=2)))
    batch = [
        (taste, listing._replace(allowed=data.draw(allowed), style=data.draw(styles)))
        for taste, listing in data.draw(st.lists(st.tuples(tastes, listings), max_size=25))
    ]
    assert recommender.recommend_batch(batch) == [recommender.recommend(*question) for question in batch]


@given(taste=tastes, seeds=seeds(), listing=listings, stop=st.integers(1, ITEMS))
def test_a_later_page_goes_on_where_a_plain_one_ends_to_the_bit(
    recommender: Recommender, taste: Taste, seeds: Seeds, listing: Listing, stop: int
) -> None:
    listings = [listing._replace(limit=ITEMS), listing._replace(limit=stop), listing._replace(start=stop)]
    for whole, head, rest in (
        [recommender.recommend(taste, each) for each in listings],
        [recommender.similar(seeds, each) for each in listings],
    ):
        found = [*zip(whole.rows, whole.scores, strict=True)]
        assert [*zip(head.rows, head.scores, strict=True)] == found[:stop]
        assert [*zip(rest.rows, rest.scores, strict=True)] == found[stop : stop + listing.limit]
        assert whole.filtered_out == head.filtered_out == rest.filtered_out


def test_what_comes_next_is_searched_in_a_space_of_its_own(recommender: Recommender) -> None:
    generation, taste = recommender.generation, Taste(history={1: 5.0, 2: 5.0}, asks_next=True)
    answer = recommender.recommend(taste, Listing(ITEMS))
    vector = generation.user_tower.embed_next_one({}, taste.history)
    scores = generation.next_index.exact.view @ vector
    assert generation.next_index.dim > generation.index.dim
    assert answer.rows == np.argsort(-scores, kind="stable").tolist()
    assert answer.rows != recommender.recommend(taste._replace(asks_next=False), Listing(ITEMS)).rows


def test_recommend_falls_back_to_popular_items(recommender: Recommender) -> None:
    popular = recommender.generation.popular
    answer = recommender.recommend(Taste(), Listing(3, excluded=frozenset({int(popular[1])})))
    assert answer.origin is Origin.POPULARITY
    assert answer.rows == [popular[0], popular[2], popular[3]]
    assert answer.scores == recommender.generation.popularity[answer.rows].tolist()


@given(taste=tastes)
def test_a_user_is_placed_where_recommend_searches_from(recommender: Recommender, taste: Taste) -> None:
    place = recommender.embed(taste)
    assert place.known == bool(taste.preferences or taste.history)
    assert np.linalg.norm(place.vector) == pytest.approx(1, abs=1e-5)
    if place.known:
        generation = recommender.generation
        index = generation.next_index if taste.asks_next else generation.index
        scores = index.exact.view @ place.vector
        assert scores == pytest.approx(true_scores(recommender.generation, taste), abs=1e-5)


@given(taste=tastes)
def test_the_nearest_genres_are_those_of_the_taste_whatever_is_asked(
    recommender: Recommender, taste: Taste
) -> None:
    generation = recommender.generation
    vector = generation.user_tower.embed_one(taste.preferences, taste.history, taste.moment).astype(
        np.float64
    )
    weights, directions = generation.popularity.astype(np.float64), generation.index.exact.view[:, :-1]
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    everywhere = np.average(directions, axis=0, weights=weights)
    cosines = {}
    for column, name in enumerate(generation.catalogue.genre_names):
        has = generation.catalogue.genres[:, column]
        towards = np.average(directions[has], axis=0, weights=weights[has]) - everywhere
        cosines[name] = vector[:-1] @ towards / np.linalg.norm(towards)
    found = recommender.embed(taste).genres
    assert dict(found) == pytest.approx(cosines, abs=1e-4)
    assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)


@given(seeds=seeds(), listing=listings)
def test_similar_ranks_by_the_cosine_to_the_seeds_and_leaves_them_out(
    recommender: Recommender, seeds: Seeds, listing: Listing
) -> None:
    answer = recommender.similar(seeds, listing)
    directions = recommender.generation.directions.astype(np.float64)
    wanted = np.mean([directions[row] for row in seeds.positive], axis=0)
    for row in seeds.negative:
        wanted -= NEGATIVE_SHARE * directions[row] / len(seeds.negative)
    cosines = directions @ wanted / np.linalg.norm(wanted)
    named = {*seeds.positive, *seeds.negative}
    left = running(listing.excluded | named, listing.allowed)
    best = sorted(cosines[left], reverse=True)[: listing.limit]
    assert answer.scores == pytest.approx(best, abs=1e-5)
    assert cosines[list(answer.rows)] == pytest.approx(answer.scores, abs=1e-5)
    assert set(answer.rows) <= set(left)
    assert answer.filtered_out == ITEMS - len(named) - len(left)
    assert answer.exhausted == (len(answer.rows) == len(left))


@given(questions=st.lists(st.tuples(seeds(), listings), max_size=20), plain=st.booleans())
def test_what_is_similar_to_many_is_what_is_similar_to_each_to_the_bit(
    recommender: Recommender, questions: list[tuple[Seeds, Listing]], plain: bool
) -> None:
    if plain:
        questions = [(each, listing._replace(allowed=None, start=0)) for each, listing in questions]
    assert recommender.similar_batch(questions) == [recommender.similar(*question) for question in questions]


def test_genre_columns_are_found_without_regard_to_case(recommender: Recommender) -> None:
    assert recommender.genre_columns("sci-FI") == (4,)
    assert recommender.genre_columns("western") == ()


def test_genre_columns_prefer_the_very_spelling_where_case_tells_genres_apart(
    tmp_path: Path, publish: Callable[..., Generation], recommender: Recommender
) -> None:
    names = ("comedy", "Comedy", "Action", "Horror", "Sci-Fi")
    twins = replace(recommender.generation.catalogue, genre_names=names)
    found = Recommender(publish(tmp_path / "store", twins)).genre_columns
    assert (found("comedy"), found("Comedy"), found("COMEDY")) == ((0,), (1,), (0, 1))


def test_recommend_serves_a_catalogue_without_genres(
    tmp_path: Path, publish: Callable[..., Generation], catalogues: SimpleNamespace
) -> None:
    recommender = Recommender(publish(tmp_path / "store", catalogues.books()))
    answer = recommender.recommend(Taste(history={2: 5.0}), Listing(4, excluded=frozenset({2})))
    assert answer.origin is Origin.RETRIEVAL
    assert len(answer.rows) == 4
    assert np.all(np.diff(answer.scores) <= 0)


@pytest.mark.usefixtures("trusting")
def test_answers_say_whether_every_item_was_compared(
    recommender: Recommender, approximate: Recommender
) -> None:
    asked = Taste(history={2: 5.0}), Listing(3, excluded=frozenset({2}))
    for exactly, about in (
        (recommender.recommend(*asked), approximate.recommend(*asked)),
        (recommender.similar(Seeds([2]), Listing(3)), approximate.similar(Seeds([2]), Listing(3))),
    ):
        assert (exactly.exact, about.exact) == (True, False)
        assert about.rows == exactly.rows  # so small a graph misses nothing


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_graph_answers_like_comparison_whatever_is_allowed(
    recommender: Recommender, approximate: Recommender, share: float
) -> None:
    allowed = Selection(np.random.default_rng(5).random(ITEMS) < share)
    taste, listing = Taste(history={2: 5.0, 7: 1.0}), Listing(4, excluded=frozenset({2, 7}), allowed=allowed)
    assert approximate.recommend(taste, listing).rows == recommender.recommend(taste, listing).rows
    seeds, listing = Seeds([3]), Listing(4, allowed=allowed)
    assert approximate.similar(seeds, listing).rows == recommender.similar(seeds, listing).rows


@pytest.mark.usefixtures("trusting")
@given(taste=tastes, listing=listings, style=styles)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_plan_is_what_the_answer_comes_to(
    recommender: Recommender, approximate: Recommender, taste: Taste, listing: Listing, style: Style | None
) -> None:
    for one, start in ((recommender, 0), (approximate, 0), (recommender, 5), (approximate, 5)):
        asked = listing._replace(style=style, start=start, limit=min(listing.limit, ITEMS - 2))
        answer, planned = one.recommend(taste, asked), one.recommend(taste, asked._replace(only_plan=True))
        assert planned.plan is not None
        assert planned.plan.candidates == len(running(listing.excluded, listing.allowed))
        assert (planned.origin, planned.filtered_out) == (answer.origin, answer.filtered_out)
        assert answer.exact or not planned.exact  # ties may make it exact all the same
        if style is None or not style.max_per_genre:
            assert planned.exhausted == answer.exhausted
        assert not planned.rows
