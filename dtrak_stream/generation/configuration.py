"""Every option of a generation run, and the limits it is checked against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.support.option_values import require_seed

SamplerKind = Literal["ddim", "ddpm"]


@dataclass(frozen=True)
class GenerationConfig:
    """Generate images from a diffusion model: unconditionally, or of classes.

    Each image has its own random numbers, so it is the same however many are made. An interrupted
    run continues when the same command is given again; a larger --count adds images.
    """

    out: Path
    """Folder for the images, 00000.png and so on."""
    model: str = EMBEDDED_MODEL
    """Diffusers pipeline folder with safetensors, checkpoint-N of training, or hf:OWNER/NAME (or \
the small model that comes along)."""
    count: int = 16
    """Number of images."""
    labels: str | None = None
    """Classes of the images, for a model with classes: 3, or 0,3,7 for one after the other again \
and again; without guidance."""
    seed: int = 0
    """Seed; image i has its own random numbers, named by (seed, i)."""
    sampler: SamplerKind = "ddim"
    """Which way from noise to image."""
    steps: int = 50
    """Number of timesteps on that way; at most the model's own number (often 1000)."""
    eta: float = 0.0
    """Share of fresh noise in each DDIM step: 0 none, 1 as much as DDPM."""
    batch_size: int = 16
    """Images made together, always as many: a last batch is filled up and the surplus dropped,
    since the last bits of an image depend on how many are computed at once."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:1 ..."""
    float_images: bool = False
    """Also write OUT/images.npy, float32 (N, H, W, C) in [-1, 1]: the images before rounding."""
    save_trajectory: bool = False
    """Also write OUT/trajectory/00000.npz and so on: x_t and the predicted x_0 at every timestep \
on the way to each image, for featurize --output-function trajectory(...)."""
    quiet: bool = False
    """Draw no progress bars."""

    def __post_init__(self) -> None:
        for flag, value, holds, wanted in (
            ("--count", self.count, self.count > 0, "1 or more"),
            ("--steps", self.steps, self.steps > 0, "1 or more"),
            ("--batch-size", self.batch_size, self.batch_size > 0, "1 or more"),
            ("--eta", self.eta, 0 <= self.eta <= 1, "a number from 0 to 1"),
            ("--eta", self.eta, self.eta == 0 or self.sampler == "ddim", "0, or --sampler ddim"),
        ):
            if not holds:
                raise ConfigurationError(
                    f"{value} is not supported", where=flag, remedy=f"give {wanted}"
                )
        require_seed(self.seed)
        self.classes()

    def classes(self) -> tuple[int, ...]:
        """Return the classes that take turns; none where none were given."""
        if self.labels is None:
            return ()
        try:
            return tuple(int(each) for each in self.labels.split(","))
        except ValueError as error:
            raise ConfigurationError(
                "is no list of class labels",
                where=f"--labels {self.labels}",
                remedy="give whole numbers with commas between them, such as 0,3,7",
            ) from error
