"""Learning curves of a run: a CSV for programs, a PNG for people."""

import csv
import io
from collections.abc import Sequence


def curves_csv(rows: Sequence[dict[str, float]]) -> str:
    """A line for every epoch, with a header; figures that an epoch does not have are left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=_names(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def curves_png(rows: Sequence[dict[str, float]], title: str) -> bytes:
    """A panel for every figure over the epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    names = [name for name in _names(rows) if name not in {"epoch", "seconds"}]
    figure = Figure(figsize=(4.5 * len(names), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for panel, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        drawn = [row for row in rows if name in row]
        panel.plot([row["epoch"] for row in drawn], [row[name] for row in drawn], linewidth=1.8)
        panel.set(xlabel="epoch", ylabel=name)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _names(rows: Sequence[dict[str, float]]) -> list[str]:
    """Every figure that some epoch has, in the order met."""
    return list(dict.fromkeys(name for row in rows for name in row))
