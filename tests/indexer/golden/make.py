"""Writes the golden bundle of the format that the code writes today.

    python tests/indexer/golden/make.py

Run it once when `FORMAT` grows, and commit the new folder. The bundles of
older formats are never made again: that today's code still loads them is the point.
"""

import runpy
import shutil
import tempfile
from pathlib import Path

from deepmoviematch.data.weights import FORMAT
from deepmoviematch.indexer.build import build
from deepmoviematch.indexer.store import Store

HERE = Path(__file__).parent

with tempfile.TemporaryDirectory() as folder:
    make_run = runpy.run_path(str(HERE.parent / "conftest.py"))["make_run"]
    store = Store(Path(folder) / "store")
    generation = build(make_run(Path(folder) / "run"), store)
    shutil.copytree(store.folder / "generations" / generation.id, HERE / f"v{FORMAT}")
