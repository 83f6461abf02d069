"""What several evaluations may be told alike: which losses, and how they are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.option_values import require_seed

LOSS_KEY = "loss"
"""Key of the losses of the first set of queries in a truth file."""


@dataclass(frozen=True)
class LossOptions:
    """What the loss of a query is: the training loss, averaged over timesteps and noise."""

    loss_timesteps: str = "50"
    """Timesteps of the loss: 50 or uniform:50, spread evenly over all T; cumulative:50, the first \
ones; or list:0,250,500."""
    loss_draws: int = 2
    """Noise draws at each timestep, shared by all queries and all models."""
    loss_seed: int = 1000
    """Seed of that noise; another one than that of the features (--seed), or scores are judged by
    the very noise they were computed with."""
    loss_batch: int = 256
    """Noised images in one pass of the model."""

    def __post_init__(self) -> None:
        for flag, value, least in (
            ("--loss-draws", self.loss_draws, 1),
            ("--loss-batch", self.loss_batch, 1),
        ):
            if value < least:
                raise ConfigurationError(
                    f"{value} is not supported", where=flag, remedy=f"give {least} or more"
                )
        require_seed(self.loss_seed, "--loss-seed")

    def described(self) -> dict[str, Any]:
        """Return what decides the loss of an image under a model, to the last bit."""
        return {
            "loss-timesteps": self.loss_timesteps,
            "loss-draws": self.loss_draws,
            "loss-seed": self.loss_seed,
            "loss-batch": self.loss_batch,
        }
