"""Per-sample gradients as a stream of parameter slices."""

from dtrak_stream.gradients.stream import GradientEngine, GradientSlice
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine

__all__ = ["GradientEngine", "GradientSlice", "TimestepBatchedEngine"]
