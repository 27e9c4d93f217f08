"""The recommenders that the towers are measured against."""
