import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.server.ranking.titles import Titles


def titles_of(*items: tuple[str, int], popular: list[int] | None = None) -> Titles:
    catalogue = Catalogue(
        item_ids=tuple(f"id{row}" for row in range(len(items))),
        titles=tuple(title for title, _ in items),
        years=np.array([year for _, year in items], dtype=np.int32),
        genre_names=(),
        genres=np.zeros((len(items), 0), dtype=np.bool_),
    )
    return Titles(catalogue, np.array(popular or range(len(items)), dtype=np.int64))


@pytest.mark.parametrize(
    ("title", "asked"),
    [
        ("Matrix, The", "The Matrix"),
        ("Matrix, The", "the MATRIX (1999)"),
        ("The Matrix", "Matrix, The (1999)"),
        ("Matrix, The", "matrix"),
        ("Haine, La", "la haine"),
        ("Amélie (Fabuleux destin d'Amélie Poulain, Le)", "amelie"),
        ("Amélie (Fabuleux destin d'Amélie Poulain, Le)", "Le fabuleux destin d'Amelie Poulain"),
        ("Seven (a.k.a. Se7en)", "se7en"),
        ("Schindler's List", "schindlers list"),
        ("Crouching Tiger, Hidden Dragon", "crouching tiger hidden dragon (1999)"),
        ("Mr. & Mrs. Smith", "mr and mrs smith"),
        ("[REC]", "rec"),
        ("???", "???"),
        ("千と千尋の神隠し", "千と千尋の神隠し"),
        ("The The", "the the"),
        ("A", "a"),
    ],
)
def test_find_knows_a_whole_title_however_it_is_written(title: str, asked: str) -> None:
    assert titles_of(("Something Else", 1950), (title, 1999)).find(asked) == [(1, 1.0)]


def test_find_puts_whole_titles_first_then_popular_ones() -> None:
    titles = titles_of(
        ("Heat", 1986), ("Heat", 1995), ("Body Heat", 1981), ("Red Heat", 1988), popular=[3, 2, 1, 0]
    )
    assert titles.find("heat") == [(1, 1.0), (0, 1.0), (3, 1 / 3), (2, 1 / 3)]


def test_find_tells_equal_titles_apart_by_year() -> None:
    titles = titles_of(("Heat", 1986), ("Heat", 1995))
    assert titles.find("Heat (1995)") == [(1, 1.0)]


def test_find_offers_a_title_that_was_given_the_wrong_year_as_no_whole_match() -> None:
    assert titles_of(("Toy Story", 1995)).find("Toy Story (1996)") == [(0, 2 / 3)]


def test_find_accepts_any_year_for_an_item_whose_year_is_unknown() -> None:
    assert titles_of(("Toy Story", 0)).find("Toy Story (1995)") == [(0, 1.0)]


def test_find_needs_all_the_words() -> None:
    titles = titles_of(("Red Heat", 1988), ("Red Dawn", 1984))
    assert [row for row, _ in titles.find("dawn red")] == [1]
    assert titles.find("red nothing") == []


@pytest.mark.parametrize(
    ("title", "asked"),
    [
        ("千と千尋の神隠し", "千と千尋"),
        ("千と千尋の神隠し", "神隠し (2001)"),
        ("千と千尋の神隠し", "神隠し 千尋"),
        ("となりのトトロ", "トトロ"),
        ("となりのトトロ", "ﾄﾄﾛ"),
        ("ﾄﾅﾘﾉﾄﾄﾛ", "トトロ"),
        ("Spirited Away (千と千尋の神隠し)", "spirited 千尋"),
        ("卧虎藏龙", "藏龙"),
        ("ฉลาดเกมส์โกง", "เกมส์"),
    ],
)
def test_find_knows_a_word_inside_a_title_of_a_script_without_spaces(title: str, asked: str) -> None:
    titles = titles_of(("千年女優", 2001), (title, 2001), ("Heat", 2001))
    [(row, score)] = titles.find(asked)
    assert row == 1
    assert 0 < score < 1


def test_find_knows_only_whole_words_where_spaces_part_them() -> None:
    titles = titles_of(("Heathers", 1988), ("Жара", 2006), ("기생충", 2019))
    assert [titles.find(asked) for asked in ("heat", "жар", "기생")] == [[], [], []]


def test_find_puts_a_whole_title_before_those_that_it_is_a_part_of() -> None:
    titles = titles_of(("東京物語", 1953), ("東京", 2008), popular=[0, 1])
    assert titles.find("東京") == [(1, 1.0), (0, 0.5)]


def test_find_scores_below_one_where_only_the_order_of_words_is_off() -> None:
    [(_, score)] = titles_of(("Toy Story", 0)).find("story toy")
    assert score < 1


def test_find_puts_the_item_with_that_very_id_first() -> None:
    titles = titles_of(("Other", 2000), ("id0", 2007), popular=[1, 0])
    assert titles.find("id0") == [(0, 1.0), (1, 1.0)]


@given(st.text(max_size=30))
def test_find_takes_any_text(text: str) -> None:
    assert all(0 <= score <= 1 for _, score in titles_of((text or "x", 1999), ("Heat", 1995)).find(text))


@given(st.text(min_size=1, max_size=30))
def test_find_finds_every_title_by_itself(title: str) -> None:
    assert (1, 1.0) in titles_of(("Heat", 1995), (title, 0)).find(title)
