"""Answers recommendation requests over gRPC from the current generation."""
