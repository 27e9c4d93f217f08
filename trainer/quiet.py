"""Imports TensorFlow without its greetings, which no setting of its own silences, and with few threads."""

import logging
import os
import sys


def import_tensorflow() -> None:
    """Import TensorFlow and Keras with standard error sent to nowhere for as long as that takes.

    Steps of training are made of many small operations, one after the other, beside a thread that makes
    the next batch (`models/loop.py`): more threads than that leaves cores would only wait for each other.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, _cores() - 1)))
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nothing:
            os.dup2(nothing.fileno(), 2)
            import tensorflow as tf  # noqa: PLC0415 - the point of this function

            tf.constant(0.0)  # the first operation greets again
            # Every fit traces a step of its own, and with few steps each TensorFlow counts too many.
            tf.get_logger().setLevel(logging.ERROR)
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
