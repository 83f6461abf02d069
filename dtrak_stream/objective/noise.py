"""The noise that images are mixed with: a pure function of what it belongs to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import xxhash
from torch import Tensor

from dtrak_stream.support.random_bits import (
    BITS_PER_WORD,
    WORD_MASK,
    WORDS_PER_BLOCK,
    StreamKey,
    normals_from_words,
    random_words,
)

NoiseKeying = Literal["shared", "per-sample"]


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
        low, high = (0, 0) if self.keying == "shared" else _words_of_id(sample_id)
        elements = math.prod(shape)
        blocks = torch.arange(-(-elements // WORDS_PER_BLOCK), device=device)
        places = torch.tensor([[timestep << 16 | draw] for timestep, draw in pairs], device=device)
        key = StreamKey(f"noise/{self.keying}", self.seed)
        words = random_words(key, (blocks, places, low, high))  # (pairs, blocks, 4)
        return normals_from_words(words).flatten(1)[:, :elements].reshape(-1, *shape)


def _words_of_id(sample_id: str) -> tuple[int, int]:
    digest = xxhash.xxh3_64_intdigest(sample_id.encode())
    return digest & WORD_MASK, digest >> BITS_PER_WORD
