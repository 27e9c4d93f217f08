"""Where a network starts that would take long to learn: its last layer in closed form.

The layers before it are as they were drawn, so their outputs are random features (Rahimi and
Recht, 2008); ridge regression from these gives the last layer. Training goes on from there.
Symbols: `R` rows, `G` inputs, `H` features, `D` outputs.
"""

import keras
import numpy as np
from scipy import linalg

from deepmoviematch.data.arrays import Floats

PENALTY = 0.1
"""L2 penalty, in features' mean variance."""


def fit_last_layer(model: keras.Model, prefix: str, inputs: Floats, wanted: Floats, weights: Floats) -> None:
    """Set the last of the layers `prefix`_0, `prefix`_1, ..., with ReLU between them, by least squares.

    Args:
        model: Whose layers they are.
        prefix: Of their names.
        inputs: [R, G] of the first layer.
        wanted: [R, D] of the last one.
        weights: [R] of the rows, not all 0.
    """
    layers = [layer for layer in model.layers if _is_numbered(layer.name, prefix)]
    features = inputs
    for layer in layers[:-1]:
        kernel, bias = layer.get_weights()
        features = np.maximum(features @ kernel + bias, 0)
    centre, mean = (np.average(each, axis=0, weights=weights) for each in (features, wanted))
    spread = (features - centre).astype(np.float64)
    weighted = (weights / weights.mean())[:, None] * spread
    gram = weighted.T @ spread  # [H, H]
    gram[np.diag_indices(len(gram))] += PENALTY * np.trace(gram) / len(gram) + np.finfo(np.float32).eps
    kernel = linalg.solve(gram, weighted.T @ (wanted - mean), assume_a="pos")
    layers[-1].set_weights([kernel, mean - centre @ kernel])


def _is_numbered(name: str, prefix: str) -> bool:
    return name.startswith(f"{prefix}_") and name.removeprefix(f"{prefix}_").isdigit()
