"""Per-sample gradients as a stream of parameter slices, by two engines."""
