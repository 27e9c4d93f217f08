"""Learning curves of a run: a CSV for programs, a PNG for people."""

import csv
import io
from collections.abc import Mapping, Sequence

from deepmoviematch.trainer.reports.pictures import png

Curves = Mapping[str, Sequence[Mapping[str, float]]]
"""For each phase, in the order run, the figures of its epochs."""


def curves_csv(curves: Curves) -> str:
    """A line for every epoch of every phase; figures that an epoch does not have are left empty."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for rows in curves.values() for row in rows for name in row))
    writer = csv.DictWriter(text, fieldnames=["phase", *names], lineterminator="\n")
    writer.writeheader()
    for phase, rows in curves.items():
        writer.writerows({"phase": phase} | dict(row) for row in rows)
    return text.getvalue()


def curves_png(curves: Curves, title: str, *, kept: Mapping[str, int]) -> bytes:
    """A panel for every figure of every phase over its epochs.

    Args:
        curves: What to draw.
        title: Stands above it.
        kept: For a phase the epoch whose weights it kept, which is marked.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - a second to import
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    panels = [
        (phase, name, rows)
        for phase, rows in curves.items()
        for name in dict.fromkeys(name for row in rows for name in row)
        if name not in {"epoch", "seconds"}
    ]
    columns = min(len(panels), 3)
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 0.5 + 2.9 * lines), layout="constrained")
    figure.suptitle(title, parse_math=False)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, (phase, name, rows) in zip(axes, panels, strict=False):
        epochs, values = [row["epoch"] for row in rows], [row[name] for row in rows]
        panel.plot(epochs, values, linewidth=1.8, marker="o", markersize=3)
        panel.set_title(f"{phase}: {name.replace('_', ' ')}", fontsize=10)
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        if phase in kept:
            best = kept[phase]
            panel.axvline(best, color="tab:orange", linestyle="--", linewidth=1.2)
            panel.plot([best], [values[best - 1]], "o", color="tab:orange", markersize=6)
            panel.set_title(f"{panel.get_title()}, kept epoch {best}: {values[best - 1]:.4g}", fontsize=10)
    for spare in axes[len(panels) :]:
        spare.set_visible(False)
    return png(figure)
