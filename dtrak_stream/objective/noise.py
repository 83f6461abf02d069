"""The noise that images are mixed with: a pure function of what it belongs to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dtrak_stream.objective.noise_keying import NoiseKeying
from dtrak_stream.support.device import on_device
from dtrak_stream.support.random_bits import (
    WORDS_PER_BLOCK,
    StreamKey,
    normals_from_words,
    random_words,
    words_of_name,
)

# drawing takes some 40 bytes for each number on the way: what suits caches, or bounds memory
_NUMBERS_AT_A_TIME = {"cpu": 2**17, "cuda": 2**22}


@dataclass(frozen=True)
class ImageNoise:
    """The noise that images are mixed with, keyed by what it belongs to.

    Attributes
    ----------
    seed
        The user's seed.
    keying
        `shared`: by (seed, timestep, draw), the same for all samples. `per-sample`: by
        (seed, sample id, timestep, draw).
    """

    seed: int
    keying: NoiseKeying = "shared"

    def draw(
        self,
        shape: tuple[int, int, int],
        *,
        sample_id: str,
        pairs: Sequence[tuple[int, int]],
        device: torch.device,
    ) -> Tensor:
        """Return standard normal noise for one sample.

        Parameters
        ----------
        shape
            (C, H, W) of the image.
        sample_id
            Whose noise it is; ignored under `shared` keying.
        pairs
            (timestep, draw) of each noise tensor wanted, both below 65,536.
        device
            Where it is computed. The bits are the same everywhere.

        Returns
        -------
        Tensor
            (len(pairs), C, H, W) float32.
        """
        return self.draws(shape, sample_ids=[sample_id], pairs=pairs, device=device)[0]

    def draws(
        self,
        shape: tuple[int, int, int],
        *,
        sample_ids: Sequence[str],
        pairs: Sequence[tuple[int, int]],
        device: torch.device,
    ) -> Tensor:
        """Return the noise of several samples, each as `draw` gives it, to the bit.

        Parameters
        ----------
        shape
            (C, H, W) of the images.
        sample_ids
            Whose noise it is.
        pairs, device
            See `draw`.

        Returns
        -------
        Tensor
            (len(sample_ids), len(pairs), C, H, W) float32.
        """
        words = [
            (timestep << 16 | draw, *of_id)
            for of_id in map(self._words_of, sample_ids)
            for timestep, draw in pairs
        ]
        counters = on_device(words, device)  # (samples * pairs, 3)
        out = torch.empty(len(words), math.prod(shape), device=device)
        together = max(1, _NUMBERS_AT_A_TIME.get(device.type, 2**17) // out.shape[1])
        for first in range(0, len(words), together):
            rows = slice(first, first + together)
            self._fill(out[rows], counters[rows])
        return out.reshape(len(sample_ids), len(pairs), *shape)

    def _fill(self, out: Tensor, counters: Tensor) -> None:
        """Fill `out` (rows, elements), whose rows have the counter words `counters` (rows, 3)."""
        elements = out.shape[1]
        blocks = torch.arange(-(-elements // WORDS_PER_BLOCK), device=out.device)
        place, low, high = counters.unsqueeze(2).unbind(1)  # three of (rows, 1)
        key = StreamKey(f"noise/{self.keying}", self.seed)
        words = random_words(key, (blocks, place, low, high))  # (rows, blocks, 4)
        out.copy_(normals_from_words(words).flatten(1)[:, :elements])

    def _words_of(self, sample_id: str) -> tuple[int, int]:
        return (0, 0) if self.keying == "shared" else words_of_name(sample_id)
