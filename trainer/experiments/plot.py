"""A picture of an evaluation: ours and the peers with their intervals, a panel for each protocol."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deepmoviematch.trainer.experiments.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
OURS, PEER = "#c1272d", "#4d5866"


def png(tables: Sequence[Table]) -> bytes:
    """The deciding metric of every model of each table, ours on top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    columns = min(COLUMNS, len(tables))
    lines = -(-len(tables) // columns)
    most = max(len(table.rows) for table in tables)
    figure = Figure(
        figsize=(max(3.7 * columns, 5.2), 0.35 + (1.1 + 0.3 * most) * lines), layout="constrained"
    )
    FigureCanvasAgg(figure)
    datasets = ", ".join(dict.fromkeys(table.about["dataset"] for table in tables))
    figure.suptitle(f"{datasets}: mean and 95 % bootstrap interval over users", fontsize=10, parse_math=False)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, table in zip(panels, tables, strict=False):
        _draw(panel, table)
    for panel in panels[len(tables) :]:
        panel.set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _draw(panel: "Axes", table: Table) -> None:
    metric = next(name for name, value in table.ours.items() if isinstance(value, dict))
    *_, ours = table.rows
    for height, (model, row) in enumerate(table.rows.items()):
        interval: dict[str, Any] = row[metric]
        colour = OURS if model == ours else PEER
        panel.plot([interval["low"], interval["high"]], [height] * 2, color=colour, linewidth=2.2, alpha=0.45)
        panel.plot(interval["mean"], height, "o", color=colour, markersize=5.5)
        panel.annotate(
            f"{interval['mean']:.3f}".removeprefix("0"),
            (interval["mean"], height),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=colour,
        )
    mean = table.ours[metric]["mean"]
    panel.axvline(mean, color=OURS, linewidth=0.8, linestyle=":", zorder=0)
    panel.set_yticks(range(len(table.rows)), labels=list(table.rows), fontsize=8.5, parse_math=False)
    panel.get_yticklabels()[-1].set_color(OURS)
    panel.get_yticklabels()[-1].set_fontweight("bold")
    panel.set_ylim(-0.6, len(table.rows) - 0.3)
    panel.set_title(f"{table.about['protocol']}, {table.about['asked_users']:,} users", fontsize=9.5)
    panel.set_xlabel(metric.upper(), fontsize=8.5)
    panel.tick_params(axis="x", labelsize=8)
    panel.locator_params(axis="x", nbins=5)
    panel.grid(axis="x", alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
