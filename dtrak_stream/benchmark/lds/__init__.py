"""How well scores predict retrained models: output functions, noise, timesteps, methods."""

from dtrak_stream.benchmark.lds.options import LdsBenchConfig
from dtrak_stream.benchmark.lds.run import measure_lds

__all__ = ["LdsBenchConfig", "measure_lds"]
