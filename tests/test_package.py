"""The package as others install it."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from the sources alone: no stubs lie about, the build has to make them."""
    sources = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    for folder in ("proto", "data", "trainer", "indexer", "server"):
        ignored = shutil.ignore_patterns("*_pb2*", "__pycache__", "raw")
        shutil.copytree(ROOT / folder, sources / folder, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(sources / "dist"), str(sources)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next((sources / "dist").glob("*.whl")))


def test_the_wheel_has_everything_under_one_name(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"deepmoviematch"}
    assert "deepmoviematch/__init__.py" not in wheel.namelist()


def test_the_wheel_has_stubs_types_contract_and_recipes(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi", ".proto"):
        assert f"deepmoviematch/v1/recommender{ending}" in names
    for folder in ("v1", "client", "data", "trainer", "indexer", "server"):
        assert f"deepmoviematch/{folder}/py.typed" in names
    assert {
        "deepmoviematch/trainer/recipes/seed.toml",
        "deepmoviematch/trainer/recipes/retrieval.toml",
    } <= names


def test_every_module_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    for folder in ("data", "trainer", "indexer", "server", "server/client"):
        for path in (ROOT / folder).glob("*.py"):
            assert f"deepmoviematch/{Path(folder).name}/{path.name}" in wheel.namelist()


def test_the_lock_has_hashes_and_no_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    pinned = [line for line in lock.splitlines() if "==" in line]
    assert all(line.endswith("\\") for line in pinned)
    assert lock.count("--hash=sha256:") >= len(pinned)


def test_the_build_uses_the_generators_of_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for requirement in project["build-system"]["requires"]:
        if "==" in requirement:
            assert f"\n{requirement} " in f"\n{lock}"
