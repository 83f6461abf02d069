"""Every option of training the base model of the LoRA benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.support.option_values import require_number, require_seed


@dataclass(frozen=True)
class LoraBaseConfig:
    """Train the small text-to-image model that the LoRA of the LDS benchmark is put on.

    A Stable Diffusion pipeline of 16x16 grey images: an autoencoder to latents 4x8x8, a text
    encoder, and a UNet of 0.8M parameters, kept in float16, trained on all of Fashion-MNIST with
    captions such as "a photo of a sneaker". It takes most of an hour on one core, in one go, and is
    left in OUT.work/pipeline.
    """

    fashion_mnist: Path | None = None
    """Folder of the Fashion-MNIST files (train-images-idx3-ubyte.gz and so on); Debian's package
    dataset-fashion-mnist has them. It must be given."""
    out: Path = Path("runs/bench/lora-base")
    """Results: OUT.json and OUT.md. The model is kept in OUT.work/pipeline."""
    autoencoder_steps: int = 2000
    """Optimiser steps of the autoencoder, 128 images each."""
    network_steps: int = 6000
    """Optimiser steps of UNet and text encoder, 128 images each."""
    seed: int = 0
    """Seed of first weights, images, timesteps and noise."""

    def __post_init__(self) -> None:
        require_seed(self.seed)
        for flag, value in (
            ("--autoencoder-steps", self.autoencoder_steps),
            ("--network-steps", self.network_steps),
        ):
            require_number(flag, value, 2)
