"""Judging scores: retraining without images, LDS, counterfactuals, scores fitted to retraining."""
