"""What a feature of a sample is, and what computes it."""
