"""Per-sample gradients as a stream of parameter slices, by two engines."""

from dtrak_stream.gradients.choice import hooked_engine, timestep_batched_engine
from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.residuals import residuals
from dtrak_stream.gradients.stream import GradientEngine, GradientSlice
from dtrak_stream.gradients.task import GradientTask, LossScale
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.gradients.trajectory import TrajectoryTask

__all__ = [
    "GradientEngine",
    "GradientSlice",
    "GradientTask",
    "HookedEngine",
    "LossScale",
    "TimestepBatchedEngine",
    "TrajectoryTask",
    "hooked_engine",
    "residuals",
    "served_parameters",
    "timestep_batched_engine",
]
