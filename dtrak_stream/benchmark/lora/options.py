"""Every option of the LoRA benchmark, and of training its base model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from dtrak_stream.benchmark.lds.options import ChosenQueries
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions
from dtrak_stream.support.option_values import require_number, require_seed

MethodName = Literal["best", "das", "trak", "d-trak", "pixel-cosine"]
METHOD_NAMES: tuple[MethodName, ...] = ("best", "das", "trak", "d-trak", "pixel-cosine")


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


@dataclass(frozen=True)
class LoraBenchConfig:
    """Judge methods by LoRAs that were retrained on halves of their images (LDS).

    A small text-to-image model, a LoRA of it that was trained on 500 digits with captions, 200
    images that the LoRA made, and the losses of 200 other digits and of these images under LoRAs of
    random halves come along: then it takes minutes. With --base, all but the base is made first and
    kept in OUT.work: an hour of one core for every 60 LoRAs. What is done is not done again: an
    interrupted run goes on when the same command is given again.
    """

    out: Path = Path("runs/bench/lora")
    """Results: OUT.json and OUT.md. LoRA, truth and finished rows are kept in OUT.work."""
    base: str | None = None
    """Make LoRA, images and truth of this model: embedded:garments_sd, which comes along, or what
    lora-base left in its OUT.work/pipeline (default: judge by what comes along)."""
    methods: tuple[MethodName, ...] = METHOD_NAMES
    """What is judged."""
    epochs: int = 25
    """With --base: passes over the images in which a LoRA is trained."""
    images: int = 200
    """With --base: number of digits that it was not trained on, and of images it makes."""
    subsets: int = 32
    """With --base: LoRAs retrained on halves."""
    seeds: int = 2
    """With --base: LoRAs retrained on each half."""
    proj_dim: int = 1024
    """Length k of a feature."""
    queries: ChosenQueries = "all"
    """Judge by every second query only: choose on the even ones and report the odd ones."""
    where: tyro.conf.OmitArgPrefixes[WorkerOptions] = field(default_factory=WorkerOptions)
    """Where LoRAs are trained, and features computed."""
    quiet: bool = False
    """Draw no progress bars."""

    def __post_init__(self) -> None:
        for flag, value, least, most in (
            ("--epochs", self.epochs, 1, 2**16),
            ("--images", self.images, 1, 500),
            ("--subsets", self.subsets, 3, 2**16),
            ("--seeds", self.seeds, 1, 2**16),
            ("--proj-dim", self.proj_dim, 1, 2**16),
        ):
            require_number(flag, value, least, most)
        if not self.methods:
            raise ConfigurationError("names none", where="--methods", remedy="name one, or more")
