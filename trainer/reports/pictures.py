"""Figures as PNG files with the same bytes each time."""

import io
import warnings
from collections.abc import Iterable, Iterator
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


def fonts_for(texts: Iterable[str]) -> tuple[list[str], set[str]]:
    """What to draw texts with.

    Returns:
        The usual families of fonts, then those of this machine's that have letters which these lack, if
        any, first those that have the most; and the letters that none has.
    """
    from matplotlib import font_manager, rcParams  # noqa: PLC0415 - a second to import
    from matplotlib.ft2font import FT2Font  # noqa: PLC0415

    def had(path: str) -> set[str]:
        try:
            return lacking & set(map(chr, FT2Font(path).get_charmap()))
        except (OSError, RuntimeError):  # gone since matplotlib made its list of fonts, or damaged
            return set()

    families = [*rcParams["font.family"]]
    lacking = {letter for text in texts for letter in text if letter.isprintable() and not letter.isspace()}
    lacking -= had(font_manager.findfont(font_manager.FontProperties()))
    if lacking:  # else all those files need not be read
        paths = {font.name: font.fname for font in font_manager.fontManager.ttflist}
        having = {name: had(path) for name, path in paths.items() if not _draws_boxes(name)}
        for name in sorted(having, key=lambda name: (-len(having[name]), name)):
            if having[name] & lacking:
                families.append(name)
                lacking -= having[name]
    return families, lacking


def _draws_boxes(font: str) -> bool:
    """Whether it is the font that has a box for every letter: matplotlib's own, or macOS's."""
    return font.replace(" ", "").lstrip(".").startswith("LastResort")


@contextmanager
def any_letter() -> Iterator[None]:
    """Draw letters that the font lacks as boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield
