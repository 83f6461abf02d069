"""How exact the random projections are, and how fast."""

from dtrak_stream.benchmark.projectors.options import ProjectorsConfig
from dtrak_stream.benchmark.projectors.run import measure_projectors

__all__ = ["ProjectorsConfig", "measure_projectors"]
