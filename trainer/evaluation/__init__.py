"""Protocols, metrics and comparisons: how good it is."""
