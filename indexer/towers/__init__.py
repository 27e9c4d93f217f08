"""The towers in NumPy: what serves, without TensorFlow.

Trained weights arrive as `Weights`; `user_tower` and `item_tower` turn them into
an object by their `kind`. Every row that a tower returns has length 1, so inner
product and cosine are the same number. Symbols: `B` users, `N` items, `G` genres,
`D` embedding width, `H` interactions.

To add a kind: a module beside `taste_towers.py`, its name here, its Keras twin in
`trainer/models/towers.py`, and the parity test that holds the two together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.context import NO_MOMENT, Moment
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.towers.attribution import Path
from deepmoviematch.indexer.towers.genre_towers import ContentItemTower, GenreUserTower
from deepmoviematch.indexer.towers.moments import Moments
from deepmoviematch.indexer.towers.taste_towers import IdentityItemTower, TasteUserTower


class UserTower(Protocol):
    """Embeds users from features alone."""

    @property
    def dim(self) -> int:
        """D, the width of a vector."""

    @property
    def width(self) -> int:
        """How many of these D numbers come first that may be other than 0."""

    @property
    def next_dim(self) -> int:
        """Width of the vector of a user who asks what is next; D or more."""

    @property
    def moments(self) -> Moments:
        """What the tower reads of the moment at which a user asks."""

    def embed(self, users: UserBatch) -> Floats:
        """Embed B users; returns [B, D] float32, each row of length 1.

        The order of their histories makes no difference, not even to the last bit.
        """

    def embed_next(self, users: UserBatch) -> Floats:
        """Embed B users who ask what is next; [B, next_dim] float32, each row of length 1.

        The order of their histories counts, and the vectors are to be searched among those
        of `ItemTower.embed_next`.
        """

    def embed_one(
        self, preferences: Mapping[int, float], history: Mapping[int, float], moment: Moment = NO_MOMENT
    ) -> Floats:
        """Embed one user, as `embed` does but sooner.

        Args:
            preferences: Genre column -> stars.
            history: Catalogue row -> stars, in any order.
            moment: What `moments` knows of when and on what the user asks.

        Returns:
            [D] float32 of length 1.
        """

    def embed_histories(self, histories: Sequence[Mapping[int, float]]) -> Floats:
        """Embed users who tell nothing but a history, each to the bit as `embed_one` does.

        Args:
            histories: Catalogue row -> stars, in any order, for each of B users, none of them empty.

        Returns:
            [B, D] float32, each row of length 1.
        """

    def embed_next_one(
        self, preferences: Mapping[int, float], history: Mapping[int, float], moment: Moment = NO_MOMENT
    ) -> Floats:
        """Embed one user, as `embed_next` does but sooner.

        Args:
            preferences: Genre column -> stars.
            history: Catalogue row -> stars, the oldest first.
            moment: As in `embed_one`.

        Returns:
            [next_dim] float32 of length 1.
        """

    def path(
        self,
        preferences: Mapping[int, float],
        history: Mapping[int, float],
        moment: Moment = NO_MOMENT,
        *,
        asks_next: bool,
    ) -> Path:
        """The line in the tower's inputs to one user, for `attribution.attribute`.

        Args:
            preferences: Genre column -> stars.
            history: Catalogue row -> stars, the oldest first.
            moment: As in `embed_one`.
            asks_next: Whether it leads to what `embed_next` makes of the user.
        """


class ItemTower(Protocol):
    """Embeds the items of a catalogue."""

    @property
    def dim(self) -> int:
        """D, the width of a vector."""

    @property
    def next_dim(self) -> int:
        """See `UserTower.next_dim`."""

    def embed(self, catalogue: Catalogue) -> Floats:
        """Embed N items; returns [N, D] float32, each row of length 1."""

    def embed_next(self, catalogue: Catalogue) -> Floats:
        """Embed N items for users who ask what is next; [N, next_dim] float32, rows of length 1."""

    def directions(self, vectors: Floats) -> Floats:
        """The [N, D] unit vectors that item-to-item similarity compares, made of those that `embed` returns.

        They carry nothing of popularity.
        """


def user_tower(weights: Weights) -> UserTower:
    """Build the user tower that `weights` describe.

    Raises:
        GenerationError: If the kind is unknown, or an array is missing or misshapen.
    """
    tower: UserTower = _built(weights, {"genres": GenreUserTower, "taste": TasteUserTower})
    return tower


def item_tower(weights: Weights) -> ItemTower:
    """Build the item tower that `weights` describe.

    Raises:
        GenerationError: If the kind is unknown, or an array is missing or misshapen.
    """
    tower: ItemTower = _built(weights, {"content": ContentItemTower, "identity": IdentityItemTower})
    return tower


def _built(weights: Weights, kinds: dict[str, Callable[[Weights], Any]]) -> Any:
    kind = weights.settings["kind"]
    if kind not in kinds:
        raise GenerationError(
            f"a tower's kind must be one of {', '.join(kinds)}, got {kind!r}; "
            "it may come from a newer version"
        )
    try:
        return kinds[kind](weights)
    except (KeyError, TypeError, ValueError) as error:
        raise GenerationError(f"a {kind} tower's weights must be whole, got {error!r}") from error
