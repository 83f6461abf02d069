"""Counterfactuals: remove the proponents of a generated image, retrain, generate it again."""

from dtrak_stream.evaluation.counterfactual.configuration import CounterfactualConfig
from dtrak_stream.evaluation.counterfactual.run import CounterfactualResult, counterfactual

__all__ = ["CounterfactualConfig", "CounterfactualResult", "counterfactual"]
