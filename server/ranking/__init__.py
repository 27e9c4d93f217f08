"""Which items, in which order, and why: plain Python and NumPy, no wire."""
