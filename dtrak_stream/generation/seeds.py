"""The random numbers of an image: those of one generator, seeded for (seed, number)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from dtrak_stream.support.random_bits import StreamKey

_SEEDS = 2**32  # torch's CPU generator keeps 32 bits of its seed


@dataclass(frozen=True)
class ImageSeeds:
    """Seeds of the images of one run.

    Attributes
    ----------
    seed
        The user's.
    """

    seed: int

    def of(self, number: int) -> int:
        """Return the seed of an image, as torch takes it."""
        return (self._first + number) % _SEEDS

    def generators(self, numbers: range) -> list[torch.Generator]:
        """Return a CPU generator for each image: its first noise and all later one come from it."""
        return [torch.Generator().manual_seed(self.of(number)) for number in numbers]

    @cached_property
    def _first(self) -> int:
        return StreamKey("generation", self.seed).words()[0]
