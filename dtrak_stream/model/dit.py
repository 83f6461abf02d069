"""What is to be known of a `DiTTransformer2DModel` (Peebles and Xie 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import ModelError
from dtrak_stream.model.conditioning import ClassLabels
from dtrak_stream.model.layout import NETWORK_FILE


def dit_shape(network: nn.Module, folder: Path) -> ImageShape:
    """Return the shape of the latents it takes, which are squares.

    Raises
    ------
    ModelError
        If they cannot be cut into its patches.
    """
    config = cast(Any, network).config
    if config.sample_size % config.patch_size:
        raise ModelError(
            f"sample_size {config.sample_size} cannot be cut into patches of {config.patch_size}",
            where=folder / NETWORK_FILE,
            remedy="write the side of the latents it was trained on there",
        )
    return ImageShape(config.in_channels, config.sample_size, config.sample_size)


def dit_labels(network: nn.Module) -> ClassLabels:
    """Return its classes, without the one that stands for no class in guidance."""
    return ClassLabels(cast(Any, network).config.num_embeds_ada_norm)


def answers_variance(network: nn.Module) -> bool:
    """Return whether it answers twice the channels of a sample: so its own pipeline tells it."""
    config = cast(Any, network).config
    return bool((config.out_channels or config.in_channels) == 2 * config.in_channels)
