"""A loaded model: a network in evaluation mode, and its noise schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from dtrak_stream.data import ImageShape
from dtrak_stream.model.schedule import NoiseSchedule


@dataclass(frozen=True)
class Denoiser:
    """A loaded model: the network in evaluation mode and its noise schedule.

    Attributes
    ----------
    network
        Maps (x_t, timesteps) to a prediction; `.sample` of its output is (B, C, H, W).
    schedule
        The scheduler's numbers.
    scheduler_config
        The scheduler's configuration as saved, for samplers.
    class_name
        Class of the network in diffusers.
    folder
        Where it was loaded from.
    """

    network: nn.Module
    schedule: NoiseSchedule
    scheduler_config: dict[str, Any]
    class_name: str
    folder: str

    @property
    def image_shape(self) -> ImageShape:
        """Return the shape of image the model was configured for."""
        config = cast(Any, self.network).config
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return ImageShape(channels=config.in_channels, height=height, width=width)

    @property
    def identity(self) -> str:
        """Return what it is besides its weights, for fingerprints."""
        return f"{self.class_name} {self.schedule.identity}"

    @property
    def device(self) -> torch.device:
        """Return the device that holds the parameters."""
        return next(self.network.parameters()).device

    def predict(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Return the network's output (B, C, H, W) for x_t (B, C, H, W) and t (B,)."""
        return cast(Tensor, self.network(noisy, timesteps, return_dict=False)[0])
