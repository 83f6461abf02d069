"""Gradients along a sampling path: at each timestep, of what the model predicted there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dtrak_stream.gradients.task import GradientTask, Pairs


@dataclass(frozen=True)
class TrajectoryTask(GradientTask):
    """A task whose samples have an image of their own for every timestep.

    They come as (B, timesteps * C, H, W), in the order of the task's timesteps.

    Attributes
    ----------
    summed_draws
        Whether draws of the noise are summed instead of averaged.
    """

    summed_draws: bool = False

    @property
    def share(self) -> float:
        """Return what f at one pair counts."""
        draws = 1 if self.summed_draws else self.noise_draws
        return self.scale.value / (len(self.timesteps) * draws)

    def at_pairs(self, images: Tensor, pairs: Pairs) -> Tensor:
        """Return the image of each sample at the timestep of each pair: (B * pairs, C, H, W)."""
        apart = images.reshape(len(images), len(self.timesteps), -1, *images.shape[2:])
        places = [self.timesteps.index(timestep) for timestep, _ in pairs]
        return apart[:, places].flatten(0, 1)  # (B, pairs, C, H, W) -> (B * pairs, C, H, W)
