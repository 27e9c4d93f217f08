"""The recommenders that the towers are measured against; one of them teaches."""
