"""Gradients of what towers are made of. Symbols: `S` points, `K` scores, `D` width."""

from typing import TypeAlias

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.indexer.towers.mlp import Mlp

Passing: TypeAlias = list[Floats]
"""For each hidden layer [S, width] 1 where it lets a gradient pass, else 0."""


def forward(mlp: Mlp, inputs: Floats) -> tuple[Floats, Passing]:
    """What an MLP makes of `inputs` [S, in]: [S, out], and what `backward` needs."""
    passing: Passing = []
    for kernel, bias in mlp.layers[:-1]:
        inputs = inputs @ kernel + bias
        passing.append((inputs > 0).astype(np.float32))
        inputs = inputs * passing[-1]
    kernel, bias = mlp.layers[-1]
    return inputs @ kernel + bias, passing


def backward(mlp: Mlp, passing: Passing, gradients: Floats) -> Floats:
    """From gradients by an MLP's outputs [S, K, out] to those by its inputs [S, K, in]."""
    for (kernel, _), each in zip(mlp.layers[:0:-1], reversed(passing), strict=True):
        gradients = gradients @ kernel.T * each[:, None]
    result: Floats = gradients @ mlp.layers[0][0].T
    return result


def unit_backward(vectors: Floats, gradients: Floats) -> Floats:
    """From gradients by `unit(vectors)` [S, K, D] to those by `vectors` [S, D] themselves."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    replaced = lengths < 1e-12  # by a vector that does not depend on them
    scales = np.where(replaced, 0, 1 / np.where(replaced, 1, lengths))
    heads = vectors * scales
    along = np.einsum("sd,skd->sk", heads, gradients)
    result: Floats = (gradients - along[:, :, None] * heads[:, None]) * scales[:, :, None]
    return result
