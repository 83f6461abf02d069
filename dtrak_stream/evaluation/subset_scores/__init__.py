"""Scores fitted to retrained models: empirical influence and datamodels."""

from dtrak_stream.evaluation.subset_scores.configuration import SubsetScoreConfig
from dtrak_stream.evaluation.subset_scores.run import SubsetScoreResult, score_from_subsets

__all__ = ["SubsetScoreConfig", "SubsetScoreResult", "score_from_subsets"]
