"""Generates the gRPC stubs before anything is built, so that they are never committed."""

import os
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PROTO = "proto/deepmoviematch/v1/recommender.proto"


class BuildWithStubs(build_py):  # type: ignore[misc] # setuptools ships no types
    """Builds the Python packages once the stubs lie beside their .proto."""

    def run(self) -> None:
        """Generate, then build."""
        generate_stubs()
        super().run()


def generate_stubs() -> None:
    """Write messages, gRPC stubs and their types next to the .proto."""
    from google.rpc import status_pb2  # noqa: PLC0415 - only the build has these
    from grpc_tools import protoc  # noqa: PLC0415

    commons = Path(status_pb2.__file__).parents[2]
    well_known = Path(protoc.__file__).parent / "_proto"
    # The plugins are scripts of the environment, which need not be activated.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    outputs = [f"--{kind}={ROOT / 'proto'}" for kind in ("python_out", "grpc_python_out")]
    typed = [f"--{kind}=quiet:{ROOT / 'proto'}" for kind in ("mypy_out", "mypy_grpc_out")]
    includes = [f"-I{folder}" for folder in (ROOT / "proto", well_known, commons)]
    if protoc.main(["protoc", *includes, *outputs, *typed, str(ROOT / PROTO)]) != 0:
        raise SystemExit(f"protoc failed on {PROTO}; its message is above")


setup(cmdclass={"build_py": BuildWithStubs})
