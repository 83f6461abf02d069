"""Scores fitted to retrained models: empirical influence and datamodels."""
