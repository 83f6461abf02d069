"""Per-sample featurizing next to a plain training step, vmap(grad) and other projectors."""
