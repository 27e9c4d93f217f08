"""What a request would do, said without doing it."""

from deepmoviematch.server.ranking.order import POOL
from deepmoviematch.server.ranking.question import Plan, Style
from deepmoviematch.server.ranking.relevance import Relevance


def planned(relevance: Relevance, start: int, stop: int, style: Style | None) -> Plan:
    """What answering with the places from `start` to before `stop` would take."""
    left, notes = relevance.left, []
    reordered = 0 if style is None else min(POOL, left)
    if start == 0 or start < reordered:
        exact = relevance.compares_all(stop if style is None else POOL)
    else:
        exact = True
    if not exact:
        notes.append(
            "a part of the catalogue is looked through, so an item that belongs among the results may come "
            "later or last; where too few or equal ones are found, every item is compared after all"
        )
    if stop > left:
        notes.append(f"{max(0, left - start)} results are left for a page of {stop - start}")
    if style is not None and left > POOL:
        notes.append(
            f"the {POOL} most relevant of {left} items are reordered, the others follow by relevance"
        )
    if style is not None and style.max_per_genre:
        notes.append("the list may end before all candidates were in it, by its cap for each genre")
    return Plan(left, reordered, exact, stop >= left, notes)
