"""What both kinds of tower are made of. Symbols: `B` users, `N` items, `D` embedding width."""

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.weights import Weights
from deepmoviematch.indexer.errors import GenerationError

_ZERO = np.float32(0)


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


def check_rows(table: Floats, catalogue: Catalogue) -> None:
    """Refuse a catalogue of other items than `table` [N, .] has rows for.

    Raises:
        GenerationError: If they differ in number.
    """
    if len(table) != len(catalogue):
        raise GenerationError(
            f"the item tower knows {len(table)} items but the catalogue has {len(catalogue)}; "
            "both must come from the same run"
        )
