"""Every option of training a LoRA, and the limits it is checked against."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from dtrak_stream.data.condition_options import ConditionFlags, ConditionOptions
from dtrak_stream.data.kinds import SOURCE_HELP
from dtrak_stream.data.options import ImageFlags, ImageOptions
from dtrak_stream.data.spec import require_limit
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.told_options import ToldOptions
from dtrak_stream.support.option_values import own_folders, require_number, require_seed
from dtrak_stream.training.configuration import OptimisationOptions


@dataclass(frozen=True)
class LoraLayerOptions:
    """Which layers of the network get a LoRA, and of what size (Hu et al. 2021)."""

    rank: int = 8
    """Rank r of what is added to the weights of each layer."""
    lora_alpha: float | None = None
    """What is added is multiplied by alpha / r (default: the rank)."""
    target_modules: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    """Layers that get one: those in whose names these words follow each other, such as attn2.to_k \
or ff or conv1."""

    def __post_init__(self) -> None:
        require_number("--rank", self.rank, 1)
        if self.lora_alpha is not None and not (
            math.isfinite(self.lora_alpha) and self.lora_alpha > 0
        ):
            raise ConfigurationError(
                f"{self.lora_alpha} is not supported",
                where="--lora-alpha",
                remedy="give a number above 0",
            )
        if not self.target_modules:
            raise ConfigurationError(
                "no layer would learn", where="--target-modules", remedy="give at least one word"
            )


@dataclass(frozen=True)
class LoraTrainingConfig:
    """Train a LoRA of a diffusion model on images and their captions (or class labels).

    The latents of images are the modes of their posteriors. Interrupted runs continue from
    OUT/checkpoint when the same command is given again, and end with the same bytes on the same
    machine.
    """

    images: Annotated[str, tyro.conf.arg(help=f"Training images: {SOURCE_HELP}")]
    """Training images: any row of the table of kinds of sources."""
    model: str
    """The model that it is a LoRA of: a diffusers pipeline folder with safetensors, or
    hf:OWNER/NAME."""
    out: Path = field(metadata=own_folders())
    """Folder for the LoRA, as pytorch_lora_weights.safetensors in the names of diffusers."""
    limit: int | None = None
    """Use the first so many images only."""
    subset: Path | None = None
    """A .npy file of image numbers: train on those only."""
    caption_dropout: float = 0.0
    """Share of captions that are replaced by the empty one, for guidance without a classifier."""
    seed: int = 0
    """Seed of the first factors, the order of the images, timesteps, noise and dropped captions."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    checkpoint_every: int = 10
    """Epochs between two checkpoints."""
    image_cache_mib: int = 1024
    """Memory for latents, in MiB; images beyond it are decoded and encoded again every epoch."""
    image_options: ImageFlags = ImageOptions()  # noqa: RUF009
    """How images are brought to shape."""
    conditions: ConditionFlags = ConditionOptions()  # noqa: RUF009
    """Where captions or labels are."""
    told: tyro.conf.OmitArgPrefixes[ToldOptions] = ToldOptions()  # noqa: RUF009
    """What the model is told besides."""
    layers: tyro.conf.OmitArgPrefixes[LoraLayerOptions] = LoraLayerOptions()
    """The LoRA."""
    optimisation: tyro.conf.OmitArgPrefixes[OptimisationOptions] = OptimisationOptions()  # noqa: RUF009
    """The optimiser."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        require_limit(self.limit)
        require_seed(self.seed)
        require_number("--checkpoint-every", self.checkpoint_every, 1)
        require_number("--image-cache-mib", self.image_cache_mib, 0)
        if not 0 <= self.caption_dropout < 1:
            raise ConfigurationError(
                f"{self.caption_dropout} is not supported",
                where="--caption-dropout",
                remedy="give at least 0 and below 1",
            )
