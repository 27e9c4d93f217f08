"""The catalogue as its item vectors see it, in two dimensions.

Neighbours on the map are neighbours for `SimilarItems`; distances between far parts
mean little. Symbols: `N` items, `D` width, `M` items on the map, `L` labels.
"""

from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from deepmoviematch.data.arrays import Doubles, Floats, Longs
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.trainer.reports.pictures import DPI, any_letter, fonts_for, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg

MOST_ITEMS = 1_000
"""Items on the map, the most popular ones: the vectors of others know little, and t-SNE takes its time."""

FEWEST_ITEMS = 12
"""Fewer are laid out by their principal components alone."""

COMPONENTS = 30
MOST_LABELS = 250
"""Titles that are tried, the most popular first; about a third of them finds room."""
MOST_GENRES = 9
COLOURS = (
    "#1f77b4",
    "#d62728",
    "#2ca02c",
    "#ff7f0e",
    "#9467bd",
    "#17becf",
    "#e377c2",
    "#8c564b",
    "#bcbd22",
)
"""One for each genre of the legend."""

REST = "#b8b8b8"
LONGEST_TITLE = 30


def map_png(vectors: Floats, catalogue: Catalogue, popularity: Floats, title: str) -> bytes:
    """A picture of the most popular items, coloured by genre, the best known with their titles.

    Args:
        vectors: [N, D] of any length; their directions count.
        catalogue: N items.
        popularity: [N] decides which items are shown and named.
        title: Stands above the map.

    Titles with letters that no font of this machine has are left out, which the heading says.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - a second to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    shown = np.argsort(-popularity, kind="stable")[:MOST_ITEMS]
    points = layout(vectors[shown])
    items = (
        f"{len(shown):,} items"
        if len(shown) == len(catalogue)
        else f"the {len(shown):,} most liked of {len(catalogue):,} items"
    )
    heading = f"{title}: {items}, by direction of their vectors"
    titles = [_shortened(catalogue.titles[row]) for row in shown[:MOST_LABELS]]
    families, lacking = fonts_for([*titles, *catalogue.genre_names, heading])
    named = [place for place, text in enumerate(titles) if lacking.isdisjoint(text)]
    if len(named) < len(titles):
        heading += "\nwithout titles in letters that no font here has"
    with rc_context({"font.family": families}), any_letter():
        figure = Figure(figsize=(13, 10), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots()
        _draw_points(axes, points, catalogue, shown)
        axes.set_title(heading, fontsize=13, parse_math=False)
        axes.set_axis_off()
        canvas.draw()
        figure.set_layout_engine("none")  # the titles are placed by what was just laid out
        _draw_titles(axes, points[named], [titles[place] for place in named], canvas.get_renderer())
    return png(figure)


def layout(vectors: Floats) -> Floats:
    """[M, 2] places of items: t-SNE (van der Maaten and Hinton, 2008) of their principal components.

    Args:
        vectors: [M, D] of any length; their directions count.
    """
    from sklearn.manifold import TSNE  # noqa: PLC0415 - a second to import

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = vectors / np.where(lengths > 0, lengths, 1)
    left, spread, _ = np.linalg.svd(directions - directions.mean(axis=0), full_matrices=False)
    components = np.zeros((len(vectors), max(COMPONENTS, 2)), dtype=np.float32)
    width = min(components.shape[1], len(spread))
    components[:, :width] = left[:, :width] * spread[:width]
    start = components[:, :2]
    if len(vectors) < FEWEST_ITEMS or spread[0] < 1e-4:  # nothing to tell apart
        return start
    tsne = TSNE(
        init=1e-4 * start / start[:, 0].std(),
        perplexity=min(30.0, (len(vectors) - 1) / 3),
        max_iter=500,
        n_jobs=1,
        random_state=0,
    )
    with threadpool_limits(1):  # the same sums in the same order, and no threads that wait for each other
        places: Floats = tsne.fit_transform(components)
    return places


def main_genres(catalogue: Catalogue) -> tuple[list[int], Longs]:
    """The commonest genres, and the main one of every item.

    Returns:
        Columns of the vocabulary, the commonest first; and [N] places among them: of
        an item's genres the rarest of these, which says the most, or -1 for none.
    """
    counts = catalogue.genres.sum(axis=0)
    common = [int(genre) for genre in np.argsort(-counts, kind="stable")[:MOST_GENRES] if counts[genre]]
    flags = catalogue.genres[:, common]
    rarest = len(common) - 1 - np.argmax(flags[:, ::-1], axis=1) if common else np.zeros(len(flags), np.int64)
    return common, np.where(flags.any(axis=1), rarest, -1)


def _draw_points(axes: "Axes", points: Floats, catalogue: Catalogue, shown: Longs) -> None:
    common, mains = main_genres(catalogue)
    for place in (*range(len(common)), -1):
        mine = points[mains[shown] == place]
        name = catalogue.genre_names[common[place]] if place >= 0 else "other genres"
        if len(mine):
            colour = COLOURS[place] if place >= 0 else REST
            label = name if not name.startswith("_") else f" {name}"  # a leading _ hides from legends
            axes.scatter(mine[:, 0], mine[:, 1], s=16, color=colour, alpha=0.75, linewidths=0, label=label)
    if not common:
        return
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(1, 1), frameon=False, title="main genre", fontsize=10
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw_titles(axes: "Axes", points: Floats, titles: list[str], renderer: "RendererAgg") -> None:
    """Name items, the first ones first, wherever the name covers no other name and no named item."""
    from matplotlib.patheffects import AbstractPathEffect, withStroke  # noqa: PLC0415
    from matplotlib.transforms import Bbox  # noqa: PLC0415

    halo: list[AbstractPathEffect] = [withStroke(linewidth=2, foreground="white", alpha=0.8)]
    axes.autoscale(False)  # the pixels below are final
    window = axes.get_window_extent()
    taken: list[Bbox] = []
    named = []
    for point, title in zip(points, titles, strict=False):
        place = axes.transData.transform(point)  # pixels
        dot = Bbox([place - 3, place + 3])
        text = axes.text(point[0], point[1], title, fontsize=7.5, parse_math=False, ha="center", va="center")
        half = np.array(text.get_window_extent(renderer).size) / 2
        for centre in _around(place, half):
            box = Bbox([centre - half, centre + half])
            inside = np.all(box.min >= window.min) and np.all(box.max <= window.max)
            if inside and not box.count_overlaps(taken) and not dot.count_overlaps(taken):
                text.set_position(tuple(axes.transData.inverted().transform(centre)))
                text.set_path_effects(halo)
                taken += [box, dot]
                named.append(point)
                break
        else:
            text.remove()
    rings = np.array(named).reshape(-1, 2)
    axes.scatter(rings[:, 0], rings[:, 1], s=20, facecolors="none", edgecolors="black", linewidths=0.9)


def _around(place: Doubles, half: Doubles) -> list[Doubles]:
    """Centres for a text of half this width and height close to a point, the closest first; in pixels."""
    right, up = (half + 5) * (1, 0), (half + 5) * (0, 1)
    steps = (right, -right, up, -up, right + up, up - right, right - up, -up - right)
    return [place + step for step in steps]


def _shortened(title: str) -> str:
    return title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1].rstrip() + "…"
