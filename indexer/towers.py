"""The towers in NumPy: what serves, without TensorFlow.

Trained weights arrive as `Weights`; `user_tower` and `item_tower` turn them into
an object by their `kind`. Every row that a tower returns has length 1, so inner
product and cosine are the same number. Symbols: `B` users, `N` items, `G` genres,
`D` embedding width, `H` interactions.

To add a kind: a class here, its Keras twin in `trainer/towers.py`, and the parity
test that holds the two together.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from deepmoviematch.data.features import (
    LIKE_STARS,
    SUMMARIES,
    UserBatch,
    content_features,
    genre_means,
    preference_gate,
    preference_signal,
    recent_items,
)
from deepmoviematch.data.tables import Catalogue, Flags, Floats, Ints
from deepmoviematch.data.weights import Weights

from .errors import GenerationError
from .shortcut import Shortcut

_ZERO = np.float32(0)


class UserTower(Protocol):
    """Embeds users from features alone."""

    @property
    def dim(self) -> int:
        """D, the width of a vector."""

    def embed(self, users: UserBatch) -> Floats:
        """Embed B users; returns [B, D] float32, each row of length 1."""

    def embed_one(self, preferences: Mapping[int, float], history: Mapping[int, float]) -> Floats:
        """Embed one user, as `embed` does but sooner.

        Args:
            preferences: Genre column -> stars.
            history: Catalogue row -> stars.

        Returns:
            [D] float32 of length 1.
        """


class ItemTower(Protocol):
    """Embeds the items of a catalogue."""

    @property
    def dim(self) -> int:
        """D, the width of a vector."""

    def embed(self, catalogue: Catalogue) -> Floats:
        """Embed N items; returns [N, D] float32, each row of length 1."""

    def directions(self, vectors: Floats) -> Floats:
        """The [N, D] unit vectors that item-to-item similarity compares.

        They are `vectors` without what these carry of popularity.
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


def unit(vectors: Floats) -> Floats:
    """Scale each row to length 1; a zero row becomes the first axis, so that none stays zero.

    Args:
        vectors: [N, D] float32.

    Returns:
        [N, D] float32.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)  # [N, 1]
    first = np.zeros_like(vectors[:1])
    first[0, 0] = 1
    return np.where(norms < 1e-12, first, vectors / np.maximum(norms, 1e-12)).astype(np.float32)


class Mlp:
    """Dense layers with ReLU between them and a linear end."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        """Take the arrays `{prefix}_{i}_kernel` [in, out] and `{prefix}_{i}_bias` [out]."""
        arrays = weights.arrays
        depth = sum(name.startswith(f"{prefix}_") and name.endswith("_kernel") for name in arrays)
        if depth == 0:
            raise KeyError(f"{prefix}_0_kernel")
        self.layers = [(arrays[f"{prefix}_{i}_kernel"], arrays[f"{prefix}_{i}_bias"]) for i in range(depth)]
        widths = [kernel.shape[0] for kernel, _ in self.layers[1:]]
        if widths != [bias.shape[0] for _, bias in self.layers[:-1]]:
            raise ValueError(f"layers of {prefix} do not fit each other")

    @property
    def inputs(self) -> int:
        """Width of the input."""
        return int(self.layers[0][0].shape[0])

    @property
    def outputs(self) -> int:
        """Width of the output."""
        return int(self.layers[-1][0].shape[1])

    def __call__(self, inputs: Floats) -> Floats:
        """Map [B, inputs] to [B, outputs], or [inputs] to [outputs]."""
        hidden = inputs
        for kernel, bias in self.layers[:-1]:
            hidden = hidden.dot(kernel)
            hidden += bias
            np.maximum(hidden, _ZERO, out=hidden)
        kernel, bias = self.layers[-1]
        result: Floats = hidden.dot(kernel)
        result += bias
        return result


class GenreUserTower:
    """The seed recipe's user tower: an MLP over the average stars per genre.

    Preferences that the user did not state are averaged from the history, the way
    that the training features are; what is left unknown is 0, as in the training
    matrices of the exercise.
    """

    def __init__(self, weights: Weights) -> None:
        """Take `mean` and `scale` [G], the MLP `mlp`, and the catalogue's `item_genres` [N, G]."""
        self._mean, self._scale = weights.arrays["mean"], weights.arrays["scale"]
        self._genres: Flags = weights.arrays["item_genres"] > 0
        self._mlp = Mlp(weights, "mlp")
        if not self._mlp.inputs == len(self._mean) == len(self._scale) == self._genres.shape[1]:
            raise ValueError(f"the MLP takes {self._mlp.inputs} genres, the scaler {len(self._mean)}")
        self.dim = self._mlp.outputs

    def embed(self, users: UserBatch) -> Floats:
        """See `UserTower.embed`."""
        averages = genre_means(users, self._genres)
        stars = np.where(np.isnan(users.preferences), averages, users.preferences)
        return unit(self._mlp((np.nan_to_num(stars, nan=0.0) - self._mean) / self._scale))

    def embed_one(self, preferences: Mapping[int, float], history: Mapping[int, float]) -> Floats:
        """See `UserTower.embed_one`."""
        vectors = self.embed(UserBatch.of(len(self._mean), [preferences], [history]))
        vector: Floats = vectors[0]
        return vector


class ContentItemTower:
    """The seed recipe's item tower: an MLP over year, average rating and genre flags."""

    def __init__(self, weights: Weights) -> None:
        """Take `mean` and `scale` [F], the catalogue's unscaled `features` [N, F] and the MLP `mlp`."""
        self._mean, self._scale = weights.arrays["mean"], weights.arrays["scale"]
        self._features = weights.arrays["features"]
        self._mlp = Mlp(weights, "mlp")
        if not self._mlp.inputs == len(self._mean) == len(self._scale) == self._features.shape[1]:
            raise ValueError(f"the MLP takes {self._mlp.inputs} features, the scaler {len(self._mean)}")
        self.dim = self._mlp.outputs

    def embed(self, catalogue: Catalogue) -> Floats:
        """See `ItemTower.embed`."""
        _check_rows(self._features, catalogue)
        return unit(self._mlp((self._features - self._mean) / self._scale))

    def directions(self, vectors: Floats) -> Floats:
        """The vectors as they are: their length carries nothing."""
        return vectors


class TasteUserTower:
    """The retrieval recipe's user tower: the history as a bag, and stated preferences.

    With `n` items in the history, likes x+ and other ratings x- as bags of unit length,

        bag   = x+ P + x- Q + MLP([x+ H, x- H, preferences, log(1 + n+), log(1 + n-)])
        taste = MLP(preferences)
        user  = (1 - g) bag + g taste,    g = (1 + n)^-a

    where g is 0 without stated preferences and 1 without a history. A user who asks
    what to take next gets a part added that reads the order of the history,

        next  = user / |user| + MLP(five weighted sums of the latest items' vectors)

    which a tower that was trained without times does not have.
    """

    def __init__(self, weights: Weights) -> None:
        """Take the tables `likes`, `others` and `bag` [N, .], the MLPs `deep` and `taste`."""
        arrays = weights.arrays
        self._likes, self._others, self._bag = arrays["likes"], arrays["others"], arrays["bag"]
        self._deep, self._taste = Mlp(weights, "deep"), Mlp(weights, "taste")
        self._gate = float(weights.settings["gate"])
        width = self._likes.shape[1]
        if not self._likes.shape == self._others.shape == (len(self._bag), self._deep.outputs):
            raise ValueError(f"tables of {self._likes.shape}, {self._others.shape} and {self._bag.shape}")
        if (
            self._deep.inputs != 2 * self._bag.shape[1] + self._taste.inputs + 2
            or self._taste.outputs != width
        ):
            raise ValueError(f"MLPs of {self._deep.inputs} and {self._taste.inputs} inputs")
        self._recent = arrays.get("recent")
        if self._recent is not None:
            self._next = Mlp(weights, "next")
            if self._next.inputs != SUMMARIES * self._recent.shape[1] or len(self._recent) != len(self._bag):
                raise ValueError(f"recent of {self._recent.shape} and an MLP of {self._next.inputs} inputs")
        self.dim = width + 1
        self._shortcut: Shortcut | None = None
        if Shortcut.fits(self._likes, self._deep.layers):
            self._shortcut = Shortcut(self._likes, self._others, self._bag, self._deep.layers)

    def embed(self, users: UserBatch) -> Floats:
        """See `UserTower.embed`."""
        liked = users.stars >= LIKE_STARS
        likes, like_counts = _bag(self._likes, users, liked)
        others, other_counts = _bag(self._others, users, ~liked)
        hidden_likes, _ = _bag(self._bag, users, liked)
        hidden_others, _ = _bag(self._bag, users, ~liked)
        signal = preference_signal(users.preferences)
        counts = np.log1p(np.stack([like_counts, other_counts], axis=1)).astype(np.float32)
        bag = (
            likes + others + self._deep(np.concatenate([hidden_likes, hidden_others, signal, counts], axis=1))
        )
        gate = preference_gate(users.states_preferences, users.history_sizes, self._gate)[:, None]
        vectors = unit((1 - gate) * bag + gate * self._taste(signal))
        if self._recent is not None and users.asks_next.any():
            following = unit(vectors + self._sequence(self._recent, users))
            vectors = np.where(users.asks_next[:, None], following, vectors)
        return np.pad(vectors, ((0, 0), (0, 1)))  # items keep their norm in the last axis

    def embed_one(self, preferences: Mapping[int, float], history: Mapping[int, float]) -> Floats:
        """See `UserTower.embed_one`."""
        vector = np.zeros(self.dim, dtype=np.float32)
        if self._shortcut is not None and history and not preferences:
            vector[:-1] = self._shortcut(history)
        else:
            vector[:-1] = self._taste_of(preferences, history)
        length = math.sqrt(vector.dot(vector))
        if length < 1e-12:
            vector[0] = 1  # as `unit` does
        else:
            vector /= length
        return vector

    def _taste_of(self, preferences: Mapping[int, float], history: Mapping[int, float]) -> Floats:
        """[D - 1] the vector of one user, not yet of length 1."""
        taste = np.zeros(self.dim - 1, dtype=np.float32)
        hidden = self._bag.shape[1]
        inputs = np.zeros(self._deep.inputs, dtype=np.float32)
        liked = [row for row, stars in history.items() if stars >= LIKE_STARS]
        disliked = [row for row, stars in history.items() if stars < LIKE_STARS]
        inputs[-2:] = math.log1p(len(liked)), math.log1p(len(disliked))
        for rows, table, place in ((liked, self._likes, 0), (disliked, self._others, hidden)):
            if rows:
                shares = _shares(len(rows))
                taste += shares.dot(table.take(rows, 0))
                inputs[place : place + hidden] = shares.dot(self._bag.take(rows, 0))
        if preferences or not history:
            stated = np.full((1, self._taste.inputs), np.nan, dtype=np.float32)
            stated[0, list(preferences)] = list(preferences.values())
            inputs[2 * hidden : -2] = signal = preference_signal(stated)[0]
            gate = float(preference_gate(np.array(bool(preferences)), np.array(len(history)), self._gate))
            taste += self._deep(inputs)
            taste *= 1 - gate
            taste += gate * self._taste(signal)
        else:
            taste += self._deep(inputs)
        return taste

    def _sequence(self, table: Floats, users: UserBatch) -> Floats:
        """[B, D - 1] what the order of the histories adds."""
        rows, weights = recent_items(users)
        sums = np.einsum("blk,blh->bkh", weights, table[rows])  # [B, SUMMARIES, h]
        return self._next(sums.reshape(len(users), -1))


class IdentityItemTower:
    """The retrieval recipe's item tower: an id embedding plus an MLP over year and genres.

    The length of the sum carries popularity. It moves to an extra last axis,
    [v / M, sqrt(1 - |v|^2 / M^2)] with M the largest length in the catalogue: every
    item gets length 1 and, as users are 0 on that axis, the order by inner product
    stays (Bachrach et al., 2014, the reduction of maximum inner product to cosine).
    """

    def __init__(self, weights: Weights) -> None:
        """Take the table `ids` [N, D - 1] and the MLP `content` over [year, year known, genres]."""
        self._ids = weights.arrays["ids"]
        self._content = Mlp(weights, "content")
        self._year_mean = float(weights.settings["year_mean"])
        self._year_scale = float(weights.settings["year_scale"])
        self._largest = float(weights.settings["largest_norm"])
        if self._content.outputs != self._ids.shape[1]:
            raise ValueError(f"ids are {self._ids.shape[1]}-d but content is {self._content.outputs}-d")
        if not self._largest > 0 or not self._year_scale > 0:
            raise ValueError(
                f"largest_norm {self._largest} and year_scale {self._year_scale} must be positive"
            )
        self.dim = self._ids.shape[1] + 1

    def embed(self, catalogue: Catalogue) -> Floats:
        """See `ItemTower.embed`."""
        _check_rows(self._ids, catalogue)
        content = content_features(catalogue, self._year_mean, self._year_scale)
        vectors = (self._ids + self._content(content)) / self._largest
        rest = np.sqrt(np.maximum(0, 1 - np.sum(vectors**2, axis=1, keepdims=True)))
        return unit(np.concatenate([vectors, rest], axis=1))

    def directions(self, vectors: Floats) -> Floats:
        """The vectors without the extra axis, again of length 1 (and as wide: it is 0)."""
        return np.pad(unit(vectors[:, :-1]), ((0, 0), (0, 1)))


def _bag(table: Floats, users: UserBatch, chosen: Flags) -> tuple[Floats, Ints]:
    """Sum of the `chosen` interactions' rows divided by sqrt(their number), and that number."""
    owners = users.owners[chosen]
    counts = np.bincount(owners, minlength=len(users)).astype(np.int32)
    sums = np.zeros((len(users), table.shape[1]), dtype=np.float32)
    np.add.at(sums, owners, table[users.items[chosen]])
    roots: Floats = np.sqrt(np.maximum(counts, 1), dtype=np.float32)
    return sums / roots[:, None], counts


@lru_cache(1024)
def _shares(count: int) -> Floats:
    """What each of `count` vectors weighs in a bag of unit length."""
    return np.full(count, count**-0.5, dtype=np.float32)


def _check_rows(table: Floats, catalogue: Catalogue) -> None:
    if len(table) != len(catalogue):
        raise GenerationError(
            f"the item tower knows {len(table)} items but the catalogue has {len(catalogue)}; "
            "both must come from the same run"
        )
