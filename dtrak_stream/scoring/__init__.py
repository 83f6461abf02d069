"""Scores from stored features: kernel, blocks, rankings, file."""
