"""Models retrained on random subsets, and the losses of queries under them."""

from dtrak_stream.evaluation.retraining.configuration import RetrainConfig
from dtrak_stream.evaluation.retraining.run import RetrainResult, retrain_subsets

__all__ = ["RetrainConfig", "RetrainResult", "retrain_subsets"]
