from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.axes import Axes
from matplotlib.font_manager import fontManager

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.trainer.reports.catalogue_map import MOST_GENRES, layout, main_genres, map_png


def two_groups(size: int) -> Floats:
    """Directions that point two ways, half of them each, and a little to the side."""
    vectors: Floats = np.random.default_rng(0).normal(scale=0.1, size=(size, 6)).astype(np.float32)
    vectors[: size // 2, 0] += 1
    vectors[size // 2 :, 1] += 1
    return vectors


def test_items_that_point_the_same_way_lie_together_however_long_their_vectors() -> None:
    vectors = two_groups(30) * np.linspace(0.1, 9, 30)[:, None].astype(np.float32)
    places = layout(vectors)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert ((gaps.argmin(axis=1) < 15) == (np.arange(30) < 15)).all()


@pytest.mark.parametrize("size", [1, 2, 11, 12, 40])
@pytest.mark.parametrize("kind", ["different", "equal", "zero"])
def test_places_are_numbers_for_any_vectors(size: int, kind: str) -> None:
    vectors = two_groups(size) * (kind != "zero")
    places = layout(vectors[:1].repeat(size, axis=0) if kind == "equal" else vectors)
    assert places.shape == (size, 2)
    assert np.isfinite(places).all()


def test_the_main_genre_is_the_rarest_of_the_common_ones(catalogue: Catalogue) -> None:
    """Funny and Sad have 15 items each, Short 10."""
    common, mains = main_genres(catalogue)
    assert common == [0, 1, 2]
    assert mains[:4].tolist() == [2, 0, 0, 2]
    assert mains[16] == 1


def test_genres_beyond_the_legend_and_no_genre_at_all_are_told_apart_from_the_rest() -> None:
    names = tuple(f"g{genre}" for genre in range(40))
    many = Catalogue(
        item_ids=tuple(map(str, range(41))),
        titles=("",) * 41,
        years=np.zeros(41, dtype=np.int32),
        genre_names=names,
        genres=np.vstack([np.tri(40, dtype=np.bool_), np.zeros((1, 40), dtype=np.bool_)]),
    )
    common, mains = main_genres(many)
    assert common == list(range(MOST_GENRES))
    assert mains[0] == 0
    assert mains[39] == MOST_GENRES - 1
    assert mains[40] == -1
    bare = replace(many, genre_names=(), genres=many.genres[:, :0])
    assert main_genres(bare)[0] == []
    assert (main_genres(bare)[1] == -1).all()


def test_a_picture_has_the_same_bytes_each_time_whatever_the_titles(catalogue: Catalogue) -> None:
    """Dollars are no formula, a leading underscore hides nothing, and no font has every letter."""
    strange = replace(catalogue, titles=("$9.99 & $5", "_a_", "千と千尋", "", *catalogue.titles[4:]))
    strange = replace(strange, genre_names=("_Funny", "$Sad$", "短"))
    first, second = (
        map_png(two_groups(30), strange, np.arange(30, dtype=np.float32), "$t$ on _d") for _ in range(2)
    )
    assert first == second
    assert first.startswith(b"\x89PNG")


def test_a_map_without_genres_has_no_legend_of_them(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    legends = []
    monkeypatch.setattr(Axes, "legend", lambda *_, **settings: legends.append(settings["title"]))
    bare = replace(catalogue, genre_names=(), genres=catalogue.genres[:, :0])
    assert map_png(two_groups(30), bare, np.ones(30, dtype=np.float32), "t on d").startswith(b"\x89PNG")
    assert legends == []


def font_of(letters: str, path: Path) -> Path:
    """A font file in which each of the letters is a filled square."""
    pen = TTGlyphPen(None)
    for corner, point in enumerate([(0, 0), (0, 900), (900, 900), (900, 0)]):
        (pen.lineTo if corner else pen.moveTo)(point)
    pen.closePath()
    square, names = pen.glyph(), [".notdef", *(f"letter{number}" for number in range(len(letters)))]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, letters), names[1:], strict=True)))
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Made Up", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.mark.parametrize("letters", ["", "千と", "千と尋"], ids=["no font", "too few letters", "all letters"])
def test_titles_are_drawn_by_a_font_that_has_their_letters_or_left_out(
    letters: str, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = [font for font in fontManager.ttflist if font.name.startswith(("DejaVu", "Last Resort"))]
    monkeypatch.setattr(fontManager, "ttflist", usual)
    if letters:
        fontManager.addfont(font_of(letters, tmp_path / "made_up.ttf"))
    families, headings = {}, []
    text, set_title = Axes.text, Axes.set_title

    def drawn(axes: Axes, x: float, y: float, title: str, **settings: Any) -> Any:
        families[title] = (made := text(axes, x, y, title, **settings)).get_fontfamily()
        return made

    def headed(axes: Axes, heading: str, **settings: Any) -> Any:
        headings.append(heading)
        return set_title(axes, heading, **settings)

    monkeypatch.setattr(Axes, "text", drawn)
    monkeypatch.setattr(Axes, "set_title", headed)
    titled = replace(catalogue, titles=("千と千尋", "Amélie", *catalogue.titles[2:]))
    map_png(two_groups(30), titled, np.ones(30, dtype=np.float32), "t on d")
    whole = letters == "千と尋"
    assert ("千と千尋" in families) is whole
    assert ("Made Up" in families["Amélie"]) is bool(letters)
    assert ("without titles in letters that no font here has" in headings[0]) is not whole
