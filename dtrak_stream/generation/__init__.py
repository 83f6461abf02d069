"""Generating images from a trained model: every image has its own seed and its own file."""
