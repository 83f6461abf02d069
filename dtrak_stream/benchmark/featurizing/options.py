"""Every option of the benchmark of featurizing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dtrak_stream.support.option_values import require_number

ModelName = Literal["digits", "rgb32", "cifar"]


@dataclass(frozen=True)
class FeaturizeBenchConfig:
    """Measure per-sample featurizing against one plain training step over the same pairs.

    On each model, all ways see the same images and timesteps: a plain forward and backward pass
    over all (image, timestep) pairs at its best batch, each gradient engine with and without the
    sketch, and vmap(grad) one timestep at a time, each at its own best batch. They take turns,
    and medians are reported. Then the sketch and the dense projectors, ours and those of other
    packages where they are installed (the extra `bench` of this package), project one batch.
    """

    models: tuple[ModelName, ...] = ("digits", "rgb32", "cifar")
    """digits: the small model that comes along (177k parameters, 8x8); rgb32: 3.1M, 32x32 RGB; \
cifar: the 35.7M UNet of the DDPM paper; random weights in the latter two."""
    timesteps: tuple[int, ...] = (10, 2)
    """Numbers K of timesteps that gradients are averaged over."""
    pairs: int | None = None
    """(image, timestep) pairs in one measurement (default: 1280, 160 and 20 by size of model)."""
    proj_dim: int = 4096
    """Length k of a feature."""
    repeats: int = 5
    """Times each way is measured, in turns; medians are reported."""
    parameters: str | None = None
    """Also time gradients of these parameters alone, a regular expression over names such as
    "up_blocks.3": the backward pass ends at the first of their layers."""
    vmap: bool = True
    """Measure vmap(grad) too, by far the slowest way."""
    memory: bool = True
    """Measure the peak memory of each way in a process of its own."""
    projected_parameters: int = 1_000_000
    """Length p of the gradients that projectors are compared on; 0: leave that out."""
    projected_rows: int = 16
    """Gradients in one batch of that comparison."""
    device: str = "auto"
    """Where everything runs: auto, cpu, cuda, cuda:1 ..."""
    out: Path = Path("runs/bench/featurize")
    """Results: OUT.json and OUT.md."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        require_number("--proj-dim", self.proj_dim, 1, 2**16)
        for flag, value, least in (
            ("--repeats", self.repeats, 1),
            ("--pairs", 1 if self.pairs is None else self.pairs, 1),
            ("--timesteps", min(self.timesteps, default=0), 1),
            ("--projected-parameters", self.projected_parameters, 0),
            ("--projected-rows", self.projected_rows, 1),
        ):
            require_number(flag, value, least)
