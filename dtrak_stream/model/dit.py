"""What is to be known of a `DiTTransformer2DModel` (Peebles and Xie 2023)."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from dtrak_stream.model.conditioning import ClassLabels


def dit_labels(network: nn.Module) -> ClassLabels:
    """Return its classes, without the one that stands for no class in guidance."""
    return ClassLabels(cast(Any, network).config.num_embeds_ada_norm)


def answers_variance(network: nn.Module) -> bool:
    """Return whether it answers twice the channels of a sample: so its own pipeline tells it."""
    config = cast(Any, network).config
    return bool((config.out_channels or config.in_channels) == 2 * config.in_channels)
