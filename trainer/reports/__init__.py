"""What a run and an evaluation show to people."""
