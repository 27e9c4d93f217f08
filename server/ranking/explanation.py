"""Why an item was recommended, true to the numbers.

Symbols: `K` results, `H` interactions of the history, `P` stated preferences, `M` features of the moment.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats, Longs
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.features import LIKE_STARS, NEUTRAL_STARS
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.towers.attribution import attribute
from deepmoviematch.server.ranking.question import Answer, Origin, Taste

MAX_EXPLAINED = 50
"""Results of an answer that are explained, from the first."""

MAX_PARTS = 20
"""Parts of an explanation that are listed, the largest; the rest comes as one."""

_POPULAR = "Nothing is known of the user, so popular items are shown: {:.0%} of all users like this one."

_NAMED = 3
"""Parts that a sentence names, at most, of those that raised a score."""

_TELLING = 0.25
"""A part that is smaller than this share of the largest is not worth a name."""

_NOTHING = 5e-4
"""A difference of scores below this is none: the parts are no surer."""


class Explanation(NamedTuple):
    """Why an item has its score: `baseline`, the parts, `others` and `gap` add up to it."""

    sentence: str

    score: float
    baseline: float
    """The score that the item has for a user of whom nothing is known."""

    history: Sequence[tuple[int, float]] = ()
    """Rows of the history and how much each moved the score, the furthest first."""

    genres: Sequence[tuple[int, float]] = ()
    """Columns of the stated genres and how much each moved the score, the furthest first."""

    moment: Sequence[tuple[str, float]] = ()
    """Features of the moment and how much each moved the score, the furthest first."""

    others: float = 0.0
    """What all parts that are not listed add up to."""

    gap: float = 0.0
    """What the parts miss of the score."""

    nearest: tuple[int, float] | None = None
    """The liked item of the history that is most like this one, and the cosine to it."""

    shared: Sequence[int] = ()
    """Columns of the item's genres that a liked item of the history has, or that are stated as liked."""


def explain(generation: Generation, taste: Taste, answer: Answer) -> list[Explanation]:
    """Say of the first `MAX_EXPLAINED` results of an answer why they are there."""
    rows = list(answer.rows[:MAX_EXPLAINED])
    if not rows:
        return []
    if answer.origin is Origin.POPULARITY:
        shares = generation.popularity[rows].tolist()
        return [Explanation(_POPULAR.format(share), share, share) for share in shares]
    path = generation.user_tower.path(
        taste.preferences, taste.history, taste.moment, asks_next=taste.asks_next
    )
    index = generation.index_for(asks_next=taste.asks_next)
    found = attribute(path, index.exact.vectors_at(np.array(rows)))
    causes = _Causes(generation.catalogue, taste)
    entries = len(taste.history) + len(taste.preferences)
    listed = _largest(np.abs(found.parts[:, :entries]), MAX_PARTS)
    nearest, shared = _nearest(generation, taste, rows), _shared(generation.catalogue, taste, rows)
    keys = [*taste.history, *taste.preferences]
    explanations = []
    for place, each in enumerate(found.parts):
        moment = zip(taste.moment, each[entries:].tolist(), strict=True)
        pairs = [(cause, float(each[cause])) for cause in listed[place].tolist()]
        explanations.append(
            Explanation(
                sentence=_sentence(each, causes, float(found.score[place] - found.baseline[place])),
                score=float(found.score[place]),
                baseline=float(found.baseline[place]),
                history=[(keys[cause], part) for cause, part in pairs if cause < len(taste.history)],
                genres=[(keys[cause], part) for cause, part in pairs if cause >= len(taste.history)],
                moment=sorted(moment, key=lambda feature: -abs(feature[1])),
                others=float(each[:entries].sum()) - sum(part for _, part in pairs),
                gap=float(found.gap[place]),
                nearest=nearest[place],
                shared=shared[place],
            )
        )
    return explanations


def _largest(sizes: Floats, count: int) -> Longs:
    """[K, `count` or fewer] where the largest values of each row of `sizes` [K, .] are, the largest first."""
    count = min(count, sizes.shape[1])
    found = np.argpartition(-sizes, count - 1, axis=1)[:, :count] if count else np.zeros((len(sizes), 0), int)
    order = np.argsort(-np.take_along_axis(sizes, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def _nearest(generation: Generation, taste: Taste, rows: Sequence[int]) -> list[tuple[int, float] | None]:
    """For each of `rows` the liked item of the history that is most like it, and how much."""
    liked = np.array([row for row, stars in taste.history.items() if stars >= LIKE_STARS], dtype=np.int64)
    if len(liked) == 0:
        return [None] * len(rows)
    cosines = generation.directions[rows] @ generation.directions[liked].T  # [K, likes]
    cosines[np.array(rows)[:, None] == liked] = -np.inf  # the history itself may be recommended
    best = cosines.argmax(axis=1)
    highest = cosines[np.arange(len(rows)), best]
    return [
        (row, cosine) if np.isfinite(cosine) else None
        for row, cosine in zip(liked[best].tolist(), highest.tolist(), strict=True)
    ]


def _shared(catalogue: Catalogue, taste: Taste, rows: Sequence[int]) -> list[list[int]]:
    """For each of `rows` its genres that are liked."""
    liked = [row for row, stars in taste.history.items() if stars >= LIKE_STARS]
    flags: Flags = np.any(catalogue.genres[liked], axis=0)
    flags[[genre for genre, stars in taste.preferences.items() if stars > NEUTRAL_STARS]] = True
    return [np.flatnonzero(has).tolist() for has in catalogue.genres[rows] & flags]


class _Causes:
    """What can be said to have moved a score, in the order of the parts."""

    def __init__(self, catalogue: Catalogue, taste: Taste) -> None:
        self._catalogue = catalogue
        self._history = list(taste.history.items())
        self._preferences = list(taste.preferences.items())
        self._moment = list(taste.moment)

    def __getitem__(self, cause: int) -> str:
        if cause < len(self._history):
            row, stars = self._history[cause]
            title = self._catalogue.label(row)
            if stars >= LIKE_STARS:
                return f"liking {title}"
            return f"the low rating of {title}" if stars < NEUTRAL_STARS else f"the rating of {title}"
        stated = cause - len(self._history)
        if stated >= len(self._preferences):
            return f"the {self._moment[stated - len(self._preferences)]}"
        genre, stars = self._preferences[stated]
        name = self._catalogue.genre_names[genre]
        if stars == NEUTRAL_STARS:
            return f"the stars for {name}"
        return f"a taste for {name}" if stars > NEUTRAL_STARS else f"a distaste for {name}"


def _sentence(parts: Floats, causes: _Causes, difference: float) -> str:
    """One line for people: what raised a score most, what lowered it, and whether all of it lowered it.

    Args:
        parts: [H + P + M] how much each cause moved the score.
        causes: What they are.
        difference: How much the score is above that of a user of whom nothing is known.
    """
    least = max(_NOTHING, _TELLING * float(np.abs(parts).max()))
    highest = [
        cause for cause in np.argsort(-parts, kind="stable")[:_NAMED].tolist() if parts[cause] >= least
    ]
    lowest = int(parts.argmin())
    said = []
    if highest:
        said.append(f"raised most by {_listed([causes[cause] for cause in highest])}")
    if parts[lowest] <= -least:
        said.append(f"lowered most by {causes[lowest]}")
    sentence = ", ".join(said) or "moved by nothing that is known of the user"
    if difference < -_NOTHING:
        sentence += "; all in all it scores less than for a user of whom nothing is known"
    return f"{sentence[0].upper()}{sentence[1:]}."


def _listed(names: Sequence[str]) -> str:
    """`names` as people list them."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
