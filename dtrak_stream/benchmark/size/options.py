"""Every option of the benchmark of networks of real size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from dtrak_stream.support.option_values import require_number

NetworkName: TypeAlias = Literal["tiny", "sd-1.5", "sdxl"]
PrecisionName: TypeAlias = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class SizeBenchConfig:
    """Measure featurizing on networks of the size that people fine-tune, random in their weights.

    Each network gets a LoRA on all its attention projections. Gradients of the LoRA of one image
    at a time, through the hooked engine and the sketch, are measured beside a plain training step
    of the same (image, timestep) pairs, each in a process of its own.
    """

    networks: tuple[NetworkName, ...] = ("sd-1.5",)
    """sd-1.5: the UNet of Stable Diffusion 1.5 (860M parameters); sdxl: that of SDXL (2.6B); \
tiny: one to try this with."""
    ranks: tuple[int, ...] = (8, 128)
    """Ranks of the LoRA."""
    precisions: tuple[PrecisionName, ...] = ("float32", "bfloat16")
    """What the network computes in."""
    timesteps: int = 2
    """Number K of timesteps that gradients are averaged over."""
    images: int = 2
    """Images that are timed one by one, after a first one; medians are reported."""
    latent_side: int | None = None
    """Height and width of the latents (default: the network's own; 64 for sd-1.5, 128 for sdxl)."""
    threads: int = 1
    """Threads of torch."""
    out: Path = Path("runs/bench/size")
    """Results: OUT.json and OUT.md."""

    def __post_init__(self) -> None:
        for flag, value in (
            ("--ranks", min(self.ranks, default=0)),
            ("--timesteps", self.timesteps),
            ("--images", self.images),
            ("--threads", self.threads),
        ):
            require_number(flag, value, 1)
        require_number("--latent-side", self.latent_side, 8)
