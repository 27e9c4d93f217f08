"""Baselines: the recommenders that the towers are measured against."""
