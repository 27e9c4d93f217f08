"""Cuts the power at every step of recommend-all, and goes on with what is left.

    python -m tests.server.tools.recommend_all_deaths STORE DATA FOLDER

Prints the number of deaths.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pyarrow import parquet

from deepmoviematch.server.__main__ import main
from deepmoviematch.server.tools import recommend_all
from tests.indexer.deaths import deaths


def run(words: Sequence[str], out: Path) -> None:
    assert main([*words, "--out", str(out)]) == 0


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


if __name__ == "__main__":
    os.fsync = lambda fd: None  # only processes die here, so the disk may take its time
    recommend_all.PART_ROWS = 200  # two parts
    store, data, folder = sys.argv[1:]
    words = ["recommend-all", "--store", store, "--data", data, "--resume"]
    calm, out = Path(folder) / "calm", Path(folder) / "out"
    run(words, calm)
    count = 0
    for _ in deaths(lambda: run(words, out), before=lambda: shutil.rmtree(out, ignore_errors=True)):
        count += 1
        if (out / "_manifest.json").exists():
            done = json.loads((out / "_manifest.json").read_text())["parts"]
            assert all((out / name).exists() for name in done)
        for part in out.glob("part-*"):
            parquet.read_table(part)
        run(words, out)
        assert contents(out) == contents(calm)
    assert contents(out) == contents(calm)
    print(count)
