"""Fits the user tower and the item tower, and measures them."""
