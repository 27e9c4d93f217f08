"""Protocols and metrics: how good a model is."""
