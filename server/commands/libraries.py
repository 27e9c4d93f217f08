"""How libraries are to behave that a command has yet to import."""

import os


def keep_to_one_thread() -> None:
    """Have them compute on the thread that asks, unless the environment says otherwise."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
