"""Every option of a training run, and the limits it is checked against."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dtrak_stream.data.kinds import SOURCE_HELP
from dtrak_stream.data.options import ImageFlags, ImageOptions
from dtrak_stream.data.spec import require_limit
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.prediction_types import PredictionType
from dtrak_stream.support.option_values import own_folders, require_seed

MIB = 2**20


def _require(holds: bool, flag: str, value: object, wanted: str) -> None:
    if not holds:
        raise ConfigurationError(f"{value} is not supported", where=flag, remedy=f"give {wanted}")


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


@dataclass(frozen=True)
class ArchitectureOptions:
    """What the UNet looks like. The defaults are those of Ho et al. 2020 for 32x32 images."""

    block_out_channels: tuple[int, ...] = (128, 256, 256, 256)
    """Channels of each level; every level but the last halves the resolution."""
    layers_per_block: int = 2
    """Residual blocks of each level."""
    attention_levels: tuple[int, ...] = (1,)
    """Levels that have self-attention (0 is the full resolution). The middle always has it."""
    attention_head_dim: int = 8
    """Channels of one attention head."""
    norm_num_groups: int = 32
    """Groups of the group normalisations; divides every number of channels."""
    time_scale_shift: Literal["default", "scale_shift"] = "default"
    """default: the timestep shifts the features; scale_shift: it scales them as well."""
    dropout: float = 0.0
    """Probability of every dropout layer of the network while it trains. It is recorded here and
    not in the model's own config.json."""

    def __post_init__(self) -> None:
        levels = range(len(self.block_out_channels))
        for channels in self.block_out_channels:
            for divisor in (self.norm_num_groups, self.attention_head_dim):
                fits = divisor > 0 < channels and channels % divisor == 0
                _require(
                    fits,
                    "--block-out-channels",
                    self.block_out_channels,
                    f"multiples of {self.norm_num_groups} (--norm-num-groups) and of "
                    f"{self.attention_head_dim} (--attention-head-dim), or lower those",
                )
        _require(len(levels) > 0, "--block-out-channels", (), "at least one number of channels")
        _require(
            set(self.attention_levels) <= set(levels),
            "--attention-levels",
            self.attention_levels,
            f"levels from 0 to {len(levels) - 1}",
        )
        _require(
            self.layers_per_block > 0, "--layers-per-block", self.layers_per_block, "1 or more"
        )
        _require(0 <= self.dropout < 1, "--dropout", self.dropout, "a probability below 1")


@dataclass(frozen=True)
class NoiseScheduleOptions:
    """How noise enters an image, and what the network predicts."""

    prediction_type: PredictionType = "epsilon"
    """What the network predicts: the noise, the velocity, or the clean image."""
    num_train_timesteps: int = 1000
    """Number of timesteps T."""
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    """How the variance added at each timestep grows; linear is 0.0001 to 0.02."""

    def __post_init__(self) -> None:
        timesteps = self.num_train_timesteps
        _require(timesteps > 1, "--num-train-timesteps", timesteps, "2 or more")


@dataclass(frozen=True)
class OptimisationOptions:
    """How the weights move. AdamW; the learning rate warms up and then falls as a cosine."""

    epochs: int = 200
    """Passes over the images."""
    steps: int | None = None
    """Optimiser steps in all; if given, --epochs does not count."""
    batch_size: int = 128
    """Images of one step; the last step of an epoch has what is left."""
    learning_rate: float = 1e-4
    """Largest learning rate."""
    warmup_fraction: float = 0.1
    """Share of the steps in which the learning rate rises from 0."""
    adam_betas: tuple[float, float] = (0.95, 0.999)
    """Decay rates of AdamW's two running means."""
    weight_decay: float = 1e-6
    """Weight decay of AdamW."""
    gradient_clip: float = 1.0
    """Largest norm of the whole gradient."""
    ema: bool = False
    """Save an exponential moving average of the weights instead of the last weights."""
    ema_decay: float = 0.9999
    """Largest decay of that average (it starts lower and rises)."""

    def __post_init__(self) -> None:
        _require(self.epochs > 0, "--epochs", self.epochs, "1 or more")
        _require(self.steps is None or self.steps > 0, "--steps", self.steps, "1 or more")
        _require(self.batch_size > 0, "--batch-size", self.batch_size, "1 or more")
        _require(_positive(self.learning_rate), "--learning-rate", self.learning_rate, "above 0")
        _require(_positive(self.gradient_clip), "--gradient-clip", self.gradient_clip, "above 0")
        _require(0 <= self.weight_decay < 1, "--weight-decay", self.weight_decay, "0 up to 1")
        for flag, value in (
            ("--warmup-fraction", self.warmup_fraction),
            ("--adam-betas", self.adam_betas[0]),
            ("--adam-betas", self.adam_betas[1]),
            ("--ema-decay", self.ema_decay),
        ):
            _require(0 <= value < 1, flag, value, "at least 0 and below 1")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the number of optimiser steps of the whole run."""
        return self.epochs * steps_per_epoch if self.steps is None else self.steps


@dataclass(frozen=True)
class TrainingConfig:
    """Train an unconditional diffusion model (a diffusers UNet2DModel), from scratch or further.

    Interrupted runs continue from OUT/checkpoint when the same command is given again, and end
    with the same bytes on the same machine.
    """

    images: Annotated[str, tyro.conf.arg(help=f"Training images: {SOURCE_HELP}")]
    """Training images: any row of the table of kinds of sources."""
    out: Path = field(metadata=own_folders())
    """Folder for the model (a diffusers pipeline with safetensors)."""
    limit: int | None = None
    """Use the first so many images only."""
    subset: Path | None = None
    """A .npy file of image numbers: train on those only."""
    start_from: str | None = None
    """A model to begin with, in place of random weights: one of the same architecture and noise,
    as dtrak-stream train or diffusers saved it."""
    flip: bool = False
    """Mirror each image left to right with probability one half."""
    seed: int = 0
    """Seed of the first weights, the order of the images, timesteps, noise, flips and dropout."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    checkpoint_every: int = 10
    """Epochs between two checkpoints."""
    image_cache_mib: int = 1024
    """Memory for decoded images, in MiB; images beyond it are decoded again every epoch."""
    image_options: ImageFlags = ImageOptions()  # noqa: RUF009
    """How images are brought to shape."""
    architecture: tyro.conf.OmitArgPrefixes[ArchitectureOptions] = ArchitectureOptions()
    """The network."""
    noise_schedule: tyro.conf.OmitArgPrefixes[NoiseScheduleOptions] = NoiseScheduleOptions()
    """The noise."""
    optimisation: tyro.conf.OmitArgPrefixes[OptimisationOptions] = OptimisationOptions()
    """The optimiser."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        require_limit(self.limit)
        require_seed(self.seed)
        _require(
            self.checkpoint_every > 0, "--checkpoint-every", self.checkpoint_every, "1 or more"
        )
        _require(self.image_cache_mib >= 0, "--image-cache-mib", self.image_cache_mib, "0 or more")
