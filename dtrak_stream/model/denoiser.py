"""A model as attribution needs it: a network in evaluation mode, and its noise schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Condition
from dtrak_stream.model.schedule import NoiseSchedule

Predict: TypeAlias = Callable[[nn.Module, Tensor, Tensor, Sequence[Condition] | None], Tensor]
"""(network, x_t (B, C, H, W), t (B,), B conditions) -> all it answers, (B, C or 2 C, H, W)."""


@dataclass(frozen=True)
class Denoiser:
    """A network and everything that has to be known to differentiate it.

    `load_denoiser` makes one from a folder; any other network can be given from Python, with its
    schedule, the shape of its samples and how it is asked.

    Attributes
    ----------
    network
        Any module, in evaluation mode.
    schedule
        How noise enters, and what the network is trained to answer.
    image_shape
        Shape of the samples it takes.
    predict_by
        How the network is asked. The network is an argument because it may be a compiled one.
    class_name
        What kind of network it is, for fingerprints.
    folder
        Where it came from, for messages.
    scheduler_config
        Options of samplers under which they have the model's own schedule.
    learns_variance
        Whether the network answers twice as many channels as a sample has: its prediction, and
        the variance of a sampling step (Nichol and Dhariwal 2021).
    description
        What was found in the folder, in a line.
    """

    network: nn.Module
    schedule: NoiseSchedule
    image_shape: ImageShape
    predict_by: Predict
    class_name: str
    folder: str
    scheduler_config: dict[str, Any] = field(default_factory=dict)
    learns_variance: bool = False
    description: str = ""

    @property
    def identity(self) -> str:
        """Return what it is besides its weights, for fingerprints."""
        cut = " and a variance that is left out" if self.learns_variance else ""
        return f"{self.class_name} {self.schedule.identity}{cut}"

    @property
    def device(self) -> torch.device:
        """Return the device that holds the parameters."""
        return next(self.network.parameters()).device

    def predict(
        self, noisy: Tensor, timesteps: Tensor, conditions: Sequence[Condition] | None = None
    ) -> Tensor:
        """Return what the network predicts for x_t (B, C, H, W), t (B,) and B conditions.

        Returns
        -------
        Tensor
            (B, C, H, W): of a network that learns the variance too, the first half of its answer.

        Raises
        ------
        ConfigurationError
            If there are conditions, and the network takes none.
        """
        answer = self.answer(noisy, timesteps, conditions)
        return answer[:, : noisy.shape[1]] if self.learns_variance else answer

    def answer(
        self, noisy: Tensor, timesteps: Tensor, conditions: Sequence[Condition] | None = None
    ) -> Tensor:
        """Return all the network says: what it predicts (B, C, H, W), or (B, 2 C, H, W) with the
        variance of a sampling step where it learns that; for samplers. Raises as `predict`.
        """
        return self.predict_by(self.network, noisy, timesteps, conditions)
