"""Ratings and catalogue in, features out."""
