"""The noise that latents are drawn with: a pure function of seed and sample id."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dtrak_stream.support.device import on_device
from dtrak_stream.support.random_bits import (
    WORDS_PER_BLOCK,
    StreamKey,
    normals_from_words,
    random_words,
    words_of_name,
)


@dataclass(frozen=True)
class LatentDraws:
    """Draws latents from the posterior of images, the same for an image wherever it is met.

    Attributes
    ----------
    seed
        The user's seed.
    """

    seed: int

    def noise(
        self, sample_ids: Sequence[str], shape: tuple[int, int, int], device: torch.device
    ) -> Tensor:
        """Return standard normal noise for latents of `shape`: (len(sample_ids), *shape) float32.

        The bits are the same on every device.
        """
        numbers = math.prod(shape)
        blocks = torch.arange(-(-numbers // WORDS_PER_BLOCK), device=device)
        names = on_device([words_of_name(each) for each in sample_ids], device)  # (B, 2)
        low, high = names.unsqueeze(2).unbind(1)  # two of (B, 1)
        words = random_words(StreamKey("latents", self.seed), (blocks, 0, low, high))
        drawn = normals_from_words(words).flatten(1)[:, :numbers]  # (B, blocks, 4) -> (B, numbers)
        return drawn.reshape(len(sample_ids), *shape)
