"""What a search may return, from flags."""

from deepmoviematch.data.arrays import Flags
from deepmoviematch.indexer.search.selection import Selection


def selected(flags: Flags | None) -> Selection | None:
    """The rows that are flagged; None for None, which stands for all."""
    return None if flags is None else Selection(flags)
