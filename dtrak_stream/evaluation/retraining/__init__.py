"""Models retrained on random subsets, and the losses of queries under them."""
