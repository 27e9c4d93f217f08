"""Vector indexes: exact and approximate, for one query or many."""
