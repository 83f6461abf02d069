"""Counterfactuals: remove the proponents of a generated image, retrain, generate it again."""
