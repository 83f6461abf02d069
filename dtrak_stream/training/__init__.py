"""Training a diffusion model from scratch: options, run, resume."""

from dtrak_stream.training.configuration import (
    ArchitectureOptions,
    NoiseScheduleOptions,
    OptimisationOptions,
    TrainingConfig,
)
from dtrak_stream.training.run import TrainingResult, train

__all__ = [
    "ArchitectureOptions",
    "NoiseScheduleOptions",
    "OptimisationOptions",
    "TrainingConfig",
    "TrainingResult",
    "train",
]
