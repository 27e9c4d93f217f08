"""What make says before it makes anything."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def make(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607


@pytest.mark.parametrize("name", ["DATA", "RECIPE", "RUN", "STORE"])
def test_a_path_with_a_space_is_refused(name: str) -> None:
    refused = make("help", f"{name}=/tmp/my data")
    assert refused.returncode == 2
    assert f'{name} must be a path without spaces, got "/tmp/my data"; rename it' in refused.stderr


@pytest.mark.parametrize("target", ["train", "serve", "loadtest"])
def test_help_says_where_data_of_ones_own_are_named(target: str) -> None:
    [line] = [line for line in make("help").stdout.splitlines() if line.startswith(f"  make {target} ")]
    assert "DATA=" in line
