"""Turns a training run into a generation: towers, vectors and index as one unit."""
