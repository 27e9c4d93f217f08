"""Manifests that agree with what was done to their files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepmoviematch.indexer import manifest


def sign(folder: Path, change: Callable[[dict[str, Any]], object] = lambda values: None) -> None:
    """Make the manifest agree with the files as they are, as only a skilled hand would."""
    values = json.loads((folder / "manifest.json").read_text())
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    values["files"] = manifest.file_table(
        {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    )
    change(values)
    values["id"] = manifest.generation_id(1, values)
    (folder / "manifest.json").write_bytes(manifest.to_json(values))
