"""A tower on disk: settings as JSON and arrays as `.npy`, one folder a tower.

The trainer writes this form, the indexer copies and loads it, so neither imports
the other. Plain `.npy` files cannot carry code.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.errors import DataError

FORMAT = 1
"""The one version of run folders and generations that this code writes and reads."""

SETTINGS = "tower.json"

MAPPED_BYTES = 1 << 25
"""Files of this size are mapped rather than read."""


@dataclass(frozen=True, eq=False)
class Weights:
    """What a tower needs to run anywhere: its settings and its arrays."""

    settings: dict[str, Any]
    """Plain values; `kind` names the tower's class."""

    arrays: dict[str, Floats]
    """float32 arrays by name; a name is a file's stem."""

    def to_files(self) -> dict[str, bytes]:
        """File name -> contents; equal weights give equal bytes."""
        files = {SETTINGS: (json.dumps(self.settings, indent=2, sort_keys=True) + "\n").encode()}
        for name, array in sorted(self.arrays.items()):
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array, dtype=np.float32), allow_pickle=False)
            files[f"{name}.npy"] = buffer.getvalue()
        return files

    def save(self, folder: Path) -> None:
        """Write the tower's files into `folder`, which is made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, contents in self.to_files().items():
            (folder / name).write_bytes(contents)

    @classmethod
    def load(cls, folder: Path) -> "Weights":
        """Read what `save` wrote, into memory.

        Raises:
            DataError: If a file is missing, not of the form, or holds NaN or infinity.
        """
        try:
            settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            arrays = {path.stem: read_array(path) for path in sorted(folder.glob("*.npy"))}
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{folder}: a tower's files must be whole, got {error}") from error
        if not isinstance(settings, dict) or not isinstance(settings.get("kind"), str):
            raise DataError(f"{folder / SETTINGS}: a tower's settings must name its kind")
        for name, array in arrays.items():
            if array.dtype != np.float32:
                raise DataError(f"{folder / name}.npy: weights must be float32, got {array.dtype}")
            if not np.isfinite(array).all():
                raise DataError(f"{folder / name}.npy: weights must be finite, got NaN or infinity")
        return cls(settings=settings, arrays=arrays)


def read_array(path: Path) -> Floats:
    """The array in a `.npy` file.

    A large one stays mapped, and is shared with whoever else maps it. Any other is in
    memory: a file that is cut short in place afterwards harms nobody, while touching
    what was mapped from it would end the process. (A file that is removed or replaced
    harms nobody either way.) All are mapped first, so that a header cannot claim more
    memory than the file has.

    Raises:
        OSError, ValueError: If the file cannot be read or is not of the form.
    """
    mapped: Floats = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped if mapped.nbytes >= MAPPED_BYTES else np.array(mapped)
