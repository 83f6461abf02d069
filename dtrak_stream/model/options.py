"""The options that decide what of a model folder is read, and how.

A leaf of its own because the features' options, the rows of `families` and `loading` all need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

LatentsName: TypeAlias = Literal["mode", "sample"]
"""Which latent of an image's posterior is taken: the most likely one, or one that is drawn."""


@dataclass(frozen=True)
class LoadingOptions:
    """How a model is read from its folder.

    Attributes
    ----------
    latents
        Which latents images become, of a model that has a first stage.
    seed
        Seed of latents that are drawn.
    size
        Side in pixels of the square images that a model was trained on; None where it says so.
    """

    latents: LatentsName = "mode"
    seed: int = 0
    size: int | None = None
