"""Figures as PNG files with the same bytes each time."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120
"""Pixels in an inch, of every picture."""


def png(figure: "Figure") -> bytes:
    """The picture's file."""
    buffer = io.BytesIO()
    with any_letter():
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


@contextmanager
def any_letter() -> Iterator[None]:
    """Draw letters that the font lacks as boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield
