"""Per-sample gradients as a stream of parameter slices, by two engines."""

from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.residuals import residuals
from dtrak_stream.gradients.stream import GradientEngine, GradientSlice
from dtrak_stream.gradients.task import GradientTask, LossScale, TrajectoryTask
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine

__all__ = [
    "GradientEngine",
    "GradientSlice",
    "GradientTask",
    "HookedEngine",
    "LossScale",
    "TimestepBatchedEngine",
    "TrajectoryTask",
    "residuals",
    "served_parameters",
]
