"""Per-sample featurizing next to a plain training step, vmap(grad) and other projectors."""

from dtrak_stream.benchmark.featurizing.options import FeaturizeBenchConfig
from dtrak_stream.benchmark.featurizing.run import measure_featurize

__all__ = ["FeaturizeBenchConfig", "measure_featurize"]
