"""What a measurement was made on, and where its figures go."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("faiss-cpu", "grpcio", "numpy", "protobuf")


def facts() -> dict[str, object]:
    """Hardware, versions and the command that was given."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "command": " ".join(["python", "-m", *_module(), *sys.argv[1:]]),
    }


def parser(description: str | None, *, seed: int | None = 0) -> argparse.ArgumentParser:
    """The command line that every measurement has: `--json`, and `--seed` if chance plays a part.

    Args:
        description: The docstring of the module.
        seed: What `--seed` is by default; None leaves it out.
    """
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    if seed is not None:
        made.add_argument("--seed", type=int, default=seed, help="default: %(default)s")
    made.add_argument("--json", type=Path, help="where to write the figures")
    return made


def report(figures: Mapping[str, object], path: Path | None, *, shown: bool = False) -> None:
    """Write the figures as JSON with what they were measured on.

    Args:
        figures: What was found.
        path: Where to, if anywhere; its folder is made.
        shown: Whether to print them too.
    """
    text = json.dumps(facts() | dict(figures), indent=1)
    if shown:
        print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def _module() -> list[str]:
    return [f"tests.bench.{Path(sys.argv[0]).stem}"]


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")
