"""Models fitted on splits of the data, measured and put side by side."""
