"""The retrieval recipe's towers in NumPy: histories and stated preferences, ids and content.

Symbols: `B` users, `N` items, `G` genres, `D` width of a vector, `K` of the transitions.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.context import NO_MOMENT, Moment
from deepmoviematch.data.features import (
    LIKE_STARS,
    RECENCY,
    SUMMARIES,
    TRANSITION,
    WINDOW,
    content_features,
    preference_gate,
    preference_signal,
    recent_items,
    tells_likes_alone,
)
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.towers.mlp import Mlp, check_rows, unit
from deepmoviematch.indexer.towers.moments import Moments
from deepmoviematch.indexer.towers.precomputed import PrecomputedHistories
from deepmoviematch.indexer.towers.taste_path import Order, Tables, TastePath


class TasteUserTower:
    """The retrieval recipe's user tower: the history as a bag, and stated preferences.

    With `n` items in the history, likes x+ and other ratings x- as bags of unit length,

        bag   = x+ P + x- Q + MLP([x+ H, x- J, preferences, log(1 + n+), log(1 + n-)])
        taste = MLP(preferences)
        user  = (1 - g) bag + g taste,    g = (1 + n)^-a

    where g is 0 without stated preferences and 1 without a history. P is one of two tables
    (`tells_likes_alone`): not to tell what was rated low is not to have rated nothing low. H and J are P
    and Q, or both one table of their own. The moment at which a user asks moves that (`Moments`). A user
    who asks what to take next is embedded by the order of the history too, in a wider space,

        next  = [unit(unit(user) + MLP(S R)), s T]

    with S the `SUMMARIES` fading sums over the latest items, R what these are to the
    MLP, s the one sum that transitions are read from, and T [N, K] the transitions.
    A tower that was trained without times has no such part, and one that no feature of the
    moment could be taught has no such tables.
    """

    def __init__(self, weights: Weights) -> None:
        """Take the tables `likes`, `alone` (likes that are told alone) and `others` [N, .], two MLPs.

        The MLPs are `deep` and `taste`. Towers of old read their likes alike whatever else was told, and the
        oldest have a table `bag` for the MLP.

        A tower that reads order has the tables `recent` and `transitions` and the MLP `next`.
        """
        arrays = weights.arrays
        tables = arrays["likes"], arrays.get("alone", arrays["likes"]), arrays["others"]
        kinds = [Tables(table, arrays.get("bag", table)) for table in tables]
        self._likes, self._alone, self._others = kinds
        self._deep, self._taste = Mlp(weights, "deep"), Mlp(weights, "taste")
        self._gate = float(weights.settings["gate"])
        size, width = arrays["likes"].shape
        if any(each.direct.shape != (size, width) or len(each.known) != size for each in kinds):
            raise ValueError(f"tables of {', '.join(str(each.shape) for kind in kinds for each in kind)}")
        if (
            self._deep.inputs != 2 * self._likes.known.shape[1] + self._taste.inputs + 2
            or not self._deep.outputs == self._taste.outputs == width
        ):
            raise ValueError(f"MLPs of {self._deep.inputs} and {self._taste.inputs} inputs")
        self.width, self.dim = width, width + 1
        self.next_dim = self.dim
        self.moments = Moments(weights, width)
        self._recent = arrays.get("recent")
        if self._recent is not None:
            # Towers of old had none, and one space for both questions.
            self._transitions = arrays.get("transitions", arrays["likes"][:, :0])
            self._next = Mlp(weights, "next")
            if self._next.inputs != SUMMARIES * self._recent.shape[1] or self._next.outputs != width:
                raise ValueError(f"recent of {self._recent.shape} and an MLP of {self._next.inputs} inputs")
            if not len(self._recent) == len(self._transitions) == size:
                raise ValueError(f"tables of {self._recent.shape} and {self._transitions.shape}")
            self.next_dim += self._transitions.shape[1]
        self._precomputed: PrecomputedHistories | None = None
        if PrecomputedHistories.fits(arrays["likes"], self._deep.layers):
            self._precomputed = PrecomputedHistories(
                self._likes, self._alone, self._others, self._deep.layers
            )

    def embed(self, users: UserBatch) -> Floats:
        """See `UserTower.embed`."""
        liked, owners = users.stars >= LIKE_STARS, users.owners
        other_counts = np.bincount(owners[~liked], minlength=len(users))
        like_counts = users.history_sizes - other_counts
        alone = liked & tells_likes_alone(like_counts, other_counts)[owners]
        likes, likes_alone, others = (
            _bags(kind, users, chosen)
            for kind, chosen in ((self._likes, liked & ~alone), (self._alone, alone), (self._others, ~liked))
        )
        signal = preference_signal(users.preferences)
        counts = np.stack([like_counts, other_counts], axis=1)
        read = [likes.known + likes_alone.known, others.known, signal, np.log1p(counts).astype(np.float32)]
        bag = likes.direct + likes_alone.direct + others.direct + self._deep(np.concatenate(read, axis=1))
        gate = preference_gate(users.states_preferences, users.history_sizes, self._gate)[:, None]
        vectors = unit((1 - gate) * bag + gate * self._taste(signal))
        if users.moments is not None:
            vectors = self.moments.moved(vectors, users.moments)
        return np.pad(vectors, ((0, 0), (0, 1)))  # items keep their norm in the last axis

    def embed_next(self, users: UserBatch) -> Floats:
        """See `UserTower.embed_next`."""
        tastes = self.embed(users)
        if self._recent is None:
            return tastes
        rows, weights = recent_items(users)
        sums = np.einsum("blk,blh->bkh", weights, self._recent[rows])  # [B, SUMMARIES, h]
        moved = unit(tastes[:, :-1] + self._next(sums.reshape(len(users), -1)))
        follows = np.einsum("bl,blk->bk", weights[:, :, TRANSITION], self._transitions[rows])
        return np.pad(unit(np.concatenate([moved, follows], axis=1)), ((0, 0), (0, 1)))

    def embed_one(
        self, preferences: Mapping[int, float], history: Mapping[int, float], moment: Moment = NO_MOMENT
    ) -> Floats:
        """See `UserTower.embed_one`."""
        if self._precomputed is not None and history and not preferences:
            vector: Floats = self.embed_histories([history])[0]
        else:
            vector = np.zeros(self.dim, dtype=np.float32)
            vector[:-1] = self._taste_of(preferences, history)
            vector = _scaled(vector)
        if moment:
            vector[:-1] += self.moments.rows(moment).sum(axis=0)
            vector = _scaled(vector)
        return vector

    def embed_histories(self, histories: Sequence[Mapping[int, float]]) -> Floats:
        """See `UserTower.embed_histories`."""
        if self._precomputed is None:
            return np.stack([self.embed_one({}, history) for history in histories])
        vectors = self._precomputed(histories)
        for vector in vectors:
            _scaled(vector)
        return vectors

    def embed_next_one(
        self, preferences: Mapping[int, float], history: Mapping[int, float], moment: Moment = NO_MOMENT
    ) -> Floats:
        """See `UserTower.embed_next_one`."""
        taste = self.embed_one(preferences, history, moment)
        if self._recent is None:
            return taste
        rows = list(history)[: -WINDOW - 1 : -1]  # the latest first
        weights = RECENCY[len(rows), : len(rows)]  # [L, SUMMARIES]
        vector = np.zeros(self.next_dim, dtype=np.float32)
        step = self._next((weights.T @ self._recent.take(rows, 0)).ravel())
        vector[: self.width] = _scaled(taste[:-1] + step)
        vector[self.width : -1] = weights[:, TRANSITION] @ self._transitions.take(rows, 0)
        return _scaled(vector)

    def path(
        self,
        preferences: Mapping[int, float],
        history: Mapping[int, float],
        moment: Moment = NO_MOMENT,
        *,
        asks_next: bool,
    ) -> TastePath:
        """See `UserTower.path`."""
        order = None
        if asks_next and self._recent is not None:
            order = Order(self._recent, self._transitions, self._next)
        liked = sum(stars >= LIKE_STARS for stars in history.values())
        return TastePath(
            preferences,
            history,
            likes=self._likes_of(liked, len(history) - liked),
            others=self._others,
            deep=self._deep,
            taste=self._taste,
            gate=self._gate,
            moment=self.moments.rows(moment) if moment else None,
            order=order,
        )

    def _likes_of(self, likes: int, others: int) -> Tables:
        """What a like is in a history with so many likes and other ratings."""
        return self._alone if tells_likes_alone(likes, others) else self._likes

    def _taste_of(self, preferences: Mapping[int, float], history: Mapping[int, float]) -> Floats:
        """[D - 1] the vector of one user, not yet of length 1."""
        taste = np.zeros(self.width, dtype=np.float32)
        place, inputs = 0, np.zeros(self._deep.inputs, dtype=np.float32)
        # Sums round in the order of their terms, which is to be the same whatever the history's.
        liked = sorted([row for row, stars in history.items() if stars >= LIKE_STARS])
        disliked = sorted([row for row, stars in history.items() if stars < LIKE_STARS])
        inputs[-2:] = math.log1p(len(liked)), math.log1p(len(disliked))
        likes = self._likes_of(len(liked), len(disliked))
        for rows, (table, known) in ((liked, likes), (disliked, self._others)):
            if rows:
                shares = _shares(len(rows))
                taste += shares.dot(table.take(rows, 0))
                inputs[place : place + known.shape[1]] = shares.dot(known.take(rows, 0))
            place += known.shape[1]
        if preferences or not history:
            stated = np.full((1, self._taste.inputs), np.nan, dtype=np.float32)
            stated[0, list(preferences)] = list(preferences.values())
            inputs[place:-2] = signal = preference_signal(stated)[0]
            gate = float(preference_gate(np.array(bool(preferences)), np.array(len(history)), self._gate))
            taste += self._deep(inputs)
            taste *= 1 - gate
            taste += gate * self._taste(signal)
        else:
            taste += self._deep(inputs)
        return taste


class IdentityItemTower:
    """The retrieval recipe's item tower: an id embedding plus what content says.

    The length of the sum carries popularity. It moves to an extra last axis,
    [v / M, sqrt(1 - |v|^2 / M^2)] with M the largest length in the catalogue: every
    item gets length 1 and, as users are 0 on that axis, the order by inner product
    stays (Bachrach et al., 2014, the reduction of maximum inner product to cosine).
    """

    def __init__(self, weights: Weights) -> None:
        """Take the table `ids` [N, D - 1] and the MLP `content` over `content_features`.

        Their hats are at `year_knots`, of which the first towers had none. Users agree on what `agreement`
        [D - 1, D - 1] says; towers of old do not know.
        """
        self._ids = weights.arrays["ids"]
        self._content = Mlp(weights, "content")
        self._knots = weights.arrays.get("year_knots", np.empty((0, 2), dtype=np.float32))
        self._year_mean = float(weights.settings["year_mean"])
        self._year_scale = float(weights.settings["year_scale"])
        self._largest = float(weights.settings["largest_norm"])
        self.dim = self.next_dim = self._ids.shape[1] + 1
        if "follows" in weights.arrays:
            self._follows = weights.arrays["follows"]
            self._next_largest = float(weights.settings["next_largest_norm"])
            if len(self._follows) != len(self._ids) or not self._next_largest > 0:
                raise ValueError(f"follows of {self._follows.shape} and a norm of {self._next_largest}")
            self.next_dim = self.dim + self._follows.shape[1]
        width = self._ids.shape[1]
        self._agreement = weights.arrays.get("agreement", np.eye(width, dtype=np.float32))
        if self._agreement.shape != (width, width):
            raise ValueError(f"agreement of {self._agreement.shape} for ids of {self._ids.shape}")
        if self._content.outputs != width:
            raise ValueError(f"ids are {self._ids.shape[1]}-d but content is {self._content.outputs}-d")
        if not self._largest > 0 or not self._year_scale > 0:
            raise ValueError(
                f"largest_norm {self._largest} and year_scale {self._year_scale} must be positive"
            )

    def embed(self, catalogue: Catalogue) -> Floats:
        """See `ItemTower.embed`."""
        return _with_norm_axis(self._vectors(catalogue) / self._largest)

    def embed_next(self, catalogue: Catalogue) -> Floats:
        """See `ItemTower.embed_next`."""
        if self.next_dim == self.dim:
            return self.embed(catalogue)
        vectors: Floats = np.concatenate([self._vectors(catalogue), self._follows], axis=1)
        return _with_norm_axis(vectors / self._next_largest)

    def _vectors(self, catalogue: Catalogue) -> Floats:
        """[N, D - 1] vectors whose length carries popularity."""
        check_rows(self._ids, catalogue)
        content = content_features(catalogue, self._year_mean, self._year_scale, self._knots)
        return self._ids + self._content(content)

    def directions(self, vectors: Floats) -> Floats:
        """Where items are near that appeal to the same users; as wide, for the extra axis is 0."""
        return np.pad(unit(vectors[:, :-1] @ self._agreement), ((0, 0), (0, 1)))


def _with_norm_axis(vectors: Floats) -> Floats:
    """Rows of length 1 at most, and on one more axis what they lack of it."""
    rest = np.sqrt(np.maximum(0, 1 - np.sum(vectors**2, axis=1, keepdims=True)))
    return unit(np.concatenate([vectors, rest], axis=1))


def _scaled(vector: Floats) -> Floats:
    """`vector` [D], made as long as `unit` would make it, in place."""
    length = math.sqrt(vector.dot(vector))
    if length < 1e-12:
        vector[0] = 1
    else:
        vector /= length
    return vector


def _bags(kind: Tables, users: UserBatch, chosen: Flags) -> Tables:
    """[B, .] each, sums of the `chosen` interactions' rows divided by the root of their number."""
    owners, items = users.owners[chosen], users.items[chosen]
    items = items[np.lexsort((items, owners))]  # sums are to be the same whatever the order of a history
    roots = np.sqrt(np.maximum(np.bincount(owners, minlength=len(users)), 1), dtype=np.float32)

    def bag(table: Floats) -> Floats:
        sums = np.zeros((len(users), table.shape[1]), dtype=np.float32)
        np.add.at(sums, owners, table[items])
        sums /= roots[:, None]
        return sums

    direct = bag(kind.direct)
    return Tables(direct, direct if kind.known is kind.direct else bag(kind.known))


@lru_cache(256)
def _shares(count: int) -> Floats:
    """What each of `count` vectors weighs in a bag of unit length."""
    return np.full(count, count**-0.5, dtype=np.float32)
