"""The towers in Keras: what is trained.

`indexer/towers` holds their NumPy twins; a test keeps each pair equal to 1e-5.
All are plain functional models, so that Keras saves and loads them without custom
code. Symbols: `B` users, `N` items, `G` genres, `F` content features, `D` width.
"""

import keras
import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.features import SUMMARIES

TABLES = ("likes", "alone", "others")
"""Of the user tower: what likes are beside other ratings, what they are alone, what other ratings are."""

READ = 0.2
"""What the deep part of the user tower multiplies the linear one's bags with, to read them."""


def genre_user_tower(genres: int, *, hidden: tuple[int, ...], dim: int) -> keras.Model:
    """Map standardised stars per genre [B, G] to unit vectors [B, D]."""
    return _content_tower("user", genres, hidden, dim)


def content_item_tower(features: int, *, hidden: tuple[int, ...], dim: int) -> keras.Model:
    """Map standardised content features [N, F] to unit vectors [N, D]."""
    return _content_tower("item", features, hidden, dim)


def _content_tower(name: str, inputs: int, hidden: tuple[int, ...], dim: int) -> keras.Model:
    features = keras.Input((inputs,), name="features")
    vectors = _mlp(features, "mlp", hidden, dim)
    return keras.Model(features, keras.layers.UnitNormalization(axis=1)(vectors), name=f"{name}_tower")


def taste_user_tower(
    items: int, genres: int, *, hidden: tuple[int, ...], dim: int, dropout: float
) -> keras.Model:
    """Map histories and stated preferences to vectors [B, D], not yet of unit length.

    Inputs, in this order: the likes of who told other ratings too, the likes of who told nothing else and the
    other ratings as bags of unit length [B, N] each, the preference signal [B, max(G, 1)], log counts
    [B, 2] and the gate [B, 1] (`indexer.towers.TasteUserTower` has the formula).
    """
    bags = [keras.Input((items,), name=f"bag_of_{name}") for name in TABLES]
    signal, counts = keras.Input((max(genres, 1),), name="signal"), keras.Input((2,), name="counts")
    gate = keras.Input((1,), name="gate")
    likes, alone, others = (
        keras.layers.Dense(dim, use_bias=False, name=name, kernel_initializer="zeros")(bag)
        for name, bag in zip(TABLES, bags, strict=True)
    )
    head = _taste_head(genres, hidden=hidden, dim=dim, dropout=dropout)
    users = head([keras.layers.Add()([likes, alone]), others, signal, counts, gate])
    return keras.Model([*bags, signal, counts, gate], users, name="user_tower")


def _taste_head(genres: int, *, hidden: tuple[int, ...], dim: int, dropout: float) -> keras.Model:
    """The rest of the user tower, given what its tables make of both bags: [B, D] each.

    A model of its own, as training looks the rows of the tables up: bags are nearly empty.
    """
    linear = [keras.Input((dim,), name=name) for name in ("likes_vector", "others_vector")]
    signal, counts = keras.Input((max(genres, 1),), name="signal"), keras.Input((2,), name="counts")
    gate = keras.Input((1,), name="gate")
    known = keras.layers.Concatenate()([READ * linear[0], READ * linear[1], signal, counts])
    bag = keras.layers.Add()([*linear, _mlp(known, "deep", hidden, dim, dropout=dropout, zero_init=True)])
    taste = _mlp(signal, "taste", hidden, dim, dropout=dropout)
    users = (1.0 - gate) * bag + gate * taste
    return keras.Model([*linear, signal, counts, gate], users, name="head")


def sequence_tower(items: int, *, hidden: tuple[int, ...], dim: int, dropout: float) -> keras.Model:
    """Map the latest items [B, L] with their weights [B, L, K] to what order adds to a user [B, D].

    `deepmoviematch.data.features.recent_items` makes both inputs.
    """
    rows = keras.Input((None,), dtype="int32", name="rows")
    weights = keras.Input((None, SUMMARIES), name="weights")
    vectors = keras.layers.Embedding(items, dim, name="recent")(rows)  # [B, L, D]
    sums = keras.ops.einsum("blk,blh->bkh", weights, vectors)
    sums = keras.layers.Reshape((SUMMARIES * dim,))(sums)
    if dropout:
        sums = keras.layers.Dropout(dropout, name="sums_dropout")(sums)
    return keras.Model(
        [rows, weights],
        _mlp(sums, "next", hidden, dim, dropout=dropout, zero_init=True),
        name="sequence_tower",
    )


def moment_tower(signals: int, *, dim: int) -> keras.Model:
    """Map the signals of moments [B, C] to what they add to a user's taste [B, D]; it starts with 0."""
    numbers = keras.Input((signals,), name="signals")
    added = keras.layers.Dense(dim, use_bias=False, name="moment", kernel_initializer="zeros")(numbers)
    return keras.Model(numbers, added, name="moment_tower")


def identity_item_tower(items: int, *, dim: int) -> keras.Model:
    """Map rows of the catalogue [N] to vectors [N, D], whose length carries popularity."""
    rows = keras.Input((), dtype="int32", name="rows")
    ids = keras.layers.Embedding(items, dim, name="ids", embeddings_initializer="zeros")(rows)
    return keras.Model(rows, ids, name="item_tower")


def _mlp(
    inputs: keras.KerasTensor,
    prefix: str,
    hidden: tuple[int, ...],
    dim: int,
    *,
    dropout: float = 0.0,
    zero_init: bool = False,
) -> keras.KerasTensor:
    """Dense layers with ReLU between them; a `zero_init` one starts with an output of 0."""
    for i, width in enumerate(hidden):
        inputs = keras.layers.Dense(width, activation="relu", name=f"{prefix}_{i}")(inputs)
        if dropout:
            inputs = keras.layers.Dropout(dropout, name=f"{prefix}_{i}_dropout")(inputs)
    start = "zeros" if zero_init else "glorot_uniform"
    return keras.layers.Dense(dim, name=f"{prefix}_{len(hidden)}", kernel_initializer=start)(inputs)


def dense_arrays(tower: keras.Model) -> dict[str, Floats]:
    """The arrays of a tower under the names that the NumPy towers read.

    Layers of an MLP give `<layer>_kernel` and `<layer>_bias`; tables, which have no
    bias, go by their layer's name.
    """
    arrays: dict[str, Floats] = {}
    for layer in tower.layers:
        weights = [np.asarray(weight, dtype=np.float32) for weight in layer.get_weights()]
        if isinstance(layer, keras.layers.Dense) and layer.use_bias:
            arrays[f"{layer.name}_kernel"], arrays[f"{layer.name}_bias"] = weights
        elif isinstance(layer, keras.layers.Dense | keras.layers.Embedding):
            (arrays[layer.name],) = weights
    return arrays
