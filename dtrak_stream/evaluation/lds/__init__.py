"""Linear datamodeling score: how well summed scores rank what retraining does to the loss."""

from dtrak_stream.evaluation.lds.configuration import LdsConfig
from dtrak_stream.evaluation.lds.estimate import LdsEstimate, estimate_lds
from dtrak_stream.evaluation.lds.run import LdsResult, lds

__all__ = ["LdsConfig", "LdsEstimate", "LdsResult", "estimate_lds", "lds"]
