"""How encoded images are scaled before noise is mixed in, as diffusers' training scripts do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dtrak_stream.errors import ModelError

_OFFSETS = ("shift_factor", "latents_mean", "latents_std")


@dataclass(frozen=True)
class LatentScaling:
    """z = (encoded - shift) * factor / spread.

    Attributes
    ----------
    factor
        `scaling_factor` of the configuration.
    shift
        `shift_factor` for all channels, or `latents_mean` for each; none is 0.
    spread
        `latents_std` of each channel; none is 1.
    """

    factor: float
    shift: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()

    def applied(self, encoded: Tensor) -> Tensor:
        """Return z for what an autoencoder answers, (B, c, h, w)."""
        latents = encoded - _by_channel(self.shift, encoded) if self.shift else encoded
        latents = latents * self.factor
        return latents / _by_channel(self.spread, encoded) if self.spread else latents

    def undone(self, latents: Tensor) -> Tensor:
        """Return what an autoencoder decodes for z (B, c, h, w)."""
        encoded = latents * _by_channel(self.spread, latents) if self.spread else latents
        encoded = encoded / self.factor
        return encoded + _by_channel(self.shift, encoded) if self.shift else encoded

    @property
    def identity(self) -> str:
        """Return all of its numbers."""
        return f"x{self.factor!r} shift {list(self.shift)} spread {list(self.spread)}"

    @property
    def description(self) -> str:
        """Return the factor, and whether there is more."""
        more = " and shifted" if self.shift else ""
        return f"scaled by {self.factor:g}{more}"


def read_scaling(config: Mapping[str, Any], path: Path) -> LatentScaling:
    """Return the scaling that the configuration of an autoencoder says.

    Parameters
    ----------
    config
        With the defaults of its class for what is not in the file.
    path
        The file, for refusals.

    Raises
    ------
    ModelError
        If it has a mean without a spread or the other way round, both a shift and a mean, not one
        number for each channel, or a factor or spread of 0.
    """
    shift, mean, spread = (config.get(name) for name in _OFFSETS)
    channels = config.get("vq_embed_dim") or config["latent_channels"]
    if (mean is None) != (spread is None):
        problem = "has one of latents_mean and latents_std, and both of them belong together"
    elif shift and mean is not None:
        problem = "has a shift_factor and latents_mean, of which one is subtracted"
    elif not {len(each) for each in (mean, spread) if each is not None} <= {channels}:
        problem = f"latents_mean and latents_std are not of {channels} channels"
    elif not config.get("scaling_factor") or 0 in (spread or ()):
        problem = "scaling_factor or latents_std is 0 or not there"
    else:
        given = mean if mean is not None else [shift] if shift else []
        return LatentScaling(config["scaling_factor"], tuple(given), tuple(spread or ()))
    raise ModelError(
        problem,
        where=path,
        remedy="write there how the latents of training were scaled",
    )


def _by_channel(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    """Return numbers as (1, c, 1, 1), or (1, 1, 1, 1) of one for all channels."""
    return torch.tensor(numbers, dtype=like.dtype, device=like.device).reshape(1, -1, 1, 1)
