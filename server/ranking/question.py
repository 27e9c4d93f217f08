"""What a recommender is asked, and what it answers.

Rows are those of one generation's catalogue. Symbols: `D` embedding width, `K` results.
"""

from collections.abc import Mapping, Sequence, Set as AbstractSet
from enum import Enum, auto
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.context import NO_MOMENT, Moment
from deepmoviematch.indexer.search.selection import Selection


class Origin(Enum):
    """Where results came from."""

    RETRIEVAL = auto()
    POPULARITY = auto()
    LOOKUP = auto()


class Taste(NamedTuple):
    """A user to rank for, in rows and columns of one generation."""

    preferences: Mapping[int, float] = MappingProxyType({})
    """Genre column -> stars."""

    history: Mapping[int, float] = MappingProxyType({})
    """Catalogue row -> stars."""

    asks_next: bool = False
    """Whether the order of `history`, the oldest first, counts."""

    moment: Moment = NO_MOMENT
    """What the generation reads of when and on what the user asks."""


class Seeds(NamedTuple):
    """Items to find others like; rows of one generation."""

    positive: Sequence[int]
    """To be near to: at least one, each once."""

    negative: Sequence[int] = ()
    """To be far from: each once, none of them positive."""


class UserEmbedding(NamedTuple):
    """Where a user is in the embedding space."""

    vector: Floats
    """[D] of length 1."""

    genres: Sequence[tuple[str, float]]
    """The genres nearest to the user's taste, and the cosine to each, the nearest first."""

    known: bool
    """Whether anything is known of the user."""


class Style(NamedTuple):
    """What a list is to be besides relevant; see recommender.proto."""

    novelty: float = 0.0

    diversity: float = 0.0

    max_per_genre: int = 0
    """0 for no cap."""

    exploration: float = 0.0

    seed: bytes = b""
    """Decides what exploration does."""


class Listing(NamedTuple):
    """What list is wanted, and which part of it."""

    limit: int
    """How many results, at least 1."""

    start: int = 0
    """How many results come before them."""

    ahead: int = 0
    """See `page_of`."""

    excluded: AbstractSet[int] = frozenset()
    """Rows never to return."""

    allowed: Selection | None = None
    """Which items may be returned at all; None for every one."""

    style: Style | None = None
    """What the list is to be besides relevant; None for nothing else."""

    only_plan: bool = False
    """Whether to say what would be done, and not to do it."""


Question: TypeAlias = tuple[Taste, Listing]


class Figures(NamedTuple):
    """What became of a page; see recommender.proto."""

    intra_list_diversity: float
    relevance_paid: float
    mean_popularity: float


class Plan(NamedTuple):
    """See recommender.proto."""

    candidates: int
    reordered: int
    exact: bool
    is_last: bool
    notes: list[str]


class Answer(NamedTuple):
    """Ranked items and how they came about."""

    rows: Sequence[int]
    """[K] rows of the catalogue, best first."""

    scores: Sequence[float]
    """[K] the higher the better."""

    origin: Origin

    start: int = 0
    """How many results come before them."""

    ahead: int = 0
    """See `page_of`; for the page that comes next."""

    filtered_out: int = 0
    """How many items were kept out of the running."""

    exhausted: bool = False
    """Whether nothing is left in the running after these."""

    exact: bool = True
    """Whether every item was compared, if a search took place."""

    figures: Figures | None = None
    """What became of the page, if the list has a style."""

    explored: Sequence[bool] = ()
    """[K] whether each place was given to chance; empty where exploration is not asked for."""

    propensities: Sequence[float] = ()
    """[K] chance of each item to be at its place; empty where exploration is not asked for."""

    plan: Plan | None = None
    """What would be done, where only this is asked for; there are no rows then."""
