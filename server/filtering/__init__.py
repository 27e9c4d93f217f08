"""Filters: the language, the fields that it knows, the items that satisfy it."""
