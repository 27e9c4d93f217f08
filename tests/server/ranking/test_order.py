"""Lists with a style, held to a plain account of what each step may do."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.search.hnsw import HnswIndex
from deepmoviematch.server.ranking import order
from deepmoviematch.server.ranking.order import arranged
from deepmoviematch.server.ranking.question import Figures, Listing, Seeds, Style, Taste
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.ranking.relevance import Nearest, Scored

ITEMS, POOL = 25, 14
NEAR = 1e-5

strengths = st.sampled_from([0.0, 0.2, 0.5, 1.0])
styles = st.builds(
    Style,
    novelty=strengths,
    diversity=strengths,
    max_per_genre=st.sampled_from([0, 0, 1, 2, 5]),
    exploration=st.sampled_from([0.0, 0.0, 0.3, 1.0]),
    seed=st.binary(min_size=1, max_size=2),
)
excluded = st.frozensets(st.integers(0, ITEMS - 1), max_size=ITEMS)


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "POOL", POOL)


def asked(generation: Generation, row: int, excluded: frozenset[int]) -> Nearest:
    return Nearest(generation.index, generation.index.exact.view[row], excluded, None)


def whole(generation: Generation, relevance: Nearest, style: Style) -> list[int]:
    return arranged(relevance, 0, 2 * ITEMS, style, generation).page.rows


def rescaled(values: list[float]) -> dict[int, float]:
    low, high = min(values), max(values)
    return {place: (each - low) / (high - low) if high > low else 1.0 for place, each in enumerate(values)}


def check(generation: Generation, relevant: Scored, style: Style, listed: list[int]) -> None:
    """Hold a whole list without exploration to the rules, step by step, in plain Python."""
    genres, directions = generation.catalogue.genres, generation.directions.astype(np.float64)
    pool, rest = relevant.rows[:POOL], relevant.rows[POOL:]
    relevance = rescaled(relevant.scores[:POOL])
    popularity = rescaled([float(generation.popularity[row]) for row in pool])
    worth = {
        row: (1 - style.novelty) * relevance[place]
        - style.novelty * (popularity[place] if style.novelty else 0)
        for place, row in enumerate(pool)
    }
    counts = np.zeros(genres.shape[1], dtype=int)

    def may_join(row: int) -> bool:
        return not style.max_per_genre or not (counts[genres[row]] >= style.max_per_genre).any()

    left, before = list(pool), list[int]()
    for row in listed:
        open_ = [each for each in left if may_join(each)]
        if not open_:
            break
        values = {
            each: (1 - style.diversity) * worth[each]
            - style.diversity
            * max((float(directions[each] @ directions[one]) for one in before), default=0.0)
            for each in open_
        }
        assert row in values
        assert values[row] >= max(values.values()) - NEAR
        left.remove(row)
        before.append(row)
        counts += genres[row]
    assert not any(may_join(each) for each in left)
    expected = []
    for row in rest:
        if may_join(row):
            expected.append(row)
            counts += genres[row]
    assert listed[len(before) :] == expected


@given(row=st.integers(0, ITEMS - 1), excluded=excluded, style=styles)
def test_every_step_does_what_it_says(
    generation: Generation, row: int, excluded: frozenset[int], style: Style
) -> None:
    relevance = asked(generation, row, excluded)
    if relevance.left:
        plain = style._replace(exploration=0.0)
        check(generation, relevance.exactly(ITEMS), plain, whole(generation, relevance, plain))


@given(
    row=st.integers(0, ITEMS - 1),
    excluded=excluded,
    style=styles,
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
)
def test_all_pages_of_a_list_with_a_style_are_that_list(
    generation: Generation, row: int, excluded: frozenset[int], style: Style, sizes: list[int]
) -> None:
    relevance = asked(generation, row, excluded)
    one = arranged(relevance, 0, 2 * ITEMS, style, generation)
    assert one.is_last
    pages: list[order.Arranged] = []
    start = 0
    while not pages or not pages[-1].is_last:
        stop = start + sizes[len(pages) % len(sizes)]
        pages.append(arranged(relevance, start, stop, style, generation))
        start = stop
    assert [row for page in pages for row in page.page.rows] == one.page.rows
    assert [score for page in pages for score in page.page.scores] == one.page.scores
    assert [each for page in pages for each in page.explored] == one.explored
    assert [each for page in pages for each in page.propensities] == one.propensities
    assert all(page.page.rows for page in pages) or not one.page.rows


@given(row=st.integers(0, ITEMS - 1), excluded=excluded, style=styles)
def test_without_a_cap_everything_comes_once(
    generation: Generation, row: int, excluded: frozenset[int], style: Style
) -> None:
    relevance = asked(generation, row, excluded)
    listed = whole(generation, relevance, style._replace(max_per_genre=0))
    assert sorted(listed) == [row for row in range(ITEMS) if row not in excluded]


@given(row=st.integers(0, ITEMS - 1), excluded=excluded, style=styles)
def test_exploration_moves_the_items_of_places_given_to_chance_alone(
    generation: Generation, row: int, excluded: frozenset[int], style: Style
) -> None:
    relevance = asked(generation, row, excluded)
    before = whole(generation, relevance, style._replace(exploration=0.0))
    after = arranged(relevance, 0, 2 * ITEMS, style, generation)
    assert sorted(after.page.rows) == sorted(before)
    for was, now, given_ in zip(before, after.page.rows, after.explored, strict=True):
        assert given_ or was == now
    assert not any(after.explored[POOL:])
    assert set(after.propensities[POOL:]) <= {1.0}


def test_diversity_of_nothing_is_the_order_by_relevance(generation: Generation) -> None:
    relevance = asked(generation, 3, frozenset())
    page = arranged(relevance, 0, ITEMS, Style(), generation)
    assert page.page == relevance.exactly(ITEMS)
    assert page.figures.relevance_paid == 0


def test_figures_say_what_became_of_the_page(generation: Generation) -> None:
    relevance = asked(generation, 3, frozenset({3}))
    page, _, figures, _, _ = arranged(relevance, 2, 8, Style(novelty=0.3, diversity=0.6), generation)
    directions = generation.directions[page.rows].astype(np.float64)
    pairs = [1 - directions[a] @ directions[b] for a in range(6) for b in range(a)]
    plain = relevance.exactly(8).scores[2:]
    assert figures.intra_list_diversity == pytest.approx(np.mean(pairs), abs=1e-6)
    assert figures.relevance_paid == pytest.approx(np.mean(plain) - np.mean(page.scores))
    assert figures.mean_popularity == pytest.approx(generation.popularity[page.rows].mean())


def test_more_diversity_and_novelty_make_more_of_it(generation: Generation) -> None:
    def figures(style: Style) -> Iterator[Figures]:
        for row in range(ITEMS):
            yield arranged(asked(generation, row, frozenset()), 0, 6, style, generation).figures

    spread = [
        np.mean([each.intra_list_diversity for each in figures(Style(diversity=strength))])
        for strength in (0.0, 0.5, 1.0)
    ]
    popularity = [
        np.mean([each.mean_popularity for each in figures(Style(novelty=novelty))])
        for novelty in (0.0, 0.5, 1.0)
    ]
    assert spread == sorted(spread)
    assert popularity == sorted(popularity, reverse=True)


def test_a_graph_finds_the_pool_and_comparison_the_rest(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepmoviematch.indexer.search.approximate.COMPARED_UP_TO", 1)
    monkeypatch.setattr("deepmoviematch.indexer.search.approximate.FILTERED_UP_TO", 1)
    monkeypatch.setattr("deepmoviematch.indexer.search.hnsw.COMPARED", 0)
    graph = replace(
        generation,
        index=HnswIndex.of(generation.index.exact.view),
        similar=HnswIndex.of(generation.directions),
    )
    listing = Listing(5, style=Style(diversity=0.4))
    one, other = Recommender(graph), Recommender(generation)
    for start in (0, 5, 10, 15, 20):
        page = listing._replace(start=start)
        taste = Taste(history={2: 5.0})
        for about, exactly in (
            (one.recommend(taste, page), other.recommend(taste, page)),
            (one.similar(Seeds([2]), page), other.similar(Seeds([2]), page)),
        ):
            assert about.rows == exactly.rows  # so small a graph misses nothing
            assert about.exact == (start >= POOL)


def test_users_of_whom_nothing_is_known_get_a_style_too(recommender: Recommender) -> None:
    plain = recommender.recommend(Taste(), Listing(6))
    styled = recommender.recommend(Taste(), Listing(6, style=Style(diversity=0.7)))
    assert styled.origin is plain.origin
    assert styled.rows[0] == plain.rows[0]
    assert styled.rows != plain.rows
    assert styled.figures is not None
    assert styled.figures.relevance_paid > 0
