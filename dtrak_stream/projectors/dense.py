"""Dense random matrices, regenerated tile by tile and never stored whole.

Entry (i, j) of the matrix is a function of (kind, seed, i, j) alone: column j is the same for
every k, up to the scale 1 / sqrt(k).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dtrak_stream.noise import (
    BITS_PER_WORD,
    WORDS_PER_BLOCK,
    StreamKey,
    normals_from_words,
    random_words,
)
from dtrak_stream.projectors.sketch import unpacked_bits

TILE_ENTRIES = 4 * 2**20


@dataclass(frozen=True)
class _DenseProjector:
    """Multiplies by a regenerated matrix of independent entries with mean 0, variance 1 / k.

    Attributes
    ----------
    proj_dim
        k, the length of a feature.
    seed
        The user's seed.
    tile_entries
        Entries of the matrix that exist at a time.
    """

    proj_dim: int
    seed: int
    tile_entries: int = TILE_ENTRIES
    version: int = 1

    name: ClassVar[str]
    entries_per_block: ClassVar[int]

    def add(self, block: Tensor, offset: int, out: Tensor) -> None:
        """Add the projection of `block` (rows, length) to `out` (rows, k); see `Projector.add`."""
        block = block.to(torch.float32)
        tile_rows = max(1, self.tile_entries // self.proj_dim)
        for start in range(0, block.shape[1], tile_rows):
            part = block[:, start : start + tile_rows]
            matrix = self.matrix(offset + start, part.shape[1], block.device)
            out.addmm_(part, matrix)  # (rows, m) @ (m, k) -> (rows, k)

    def matrix(self, offset: int, length: int, device: torch.device) -> Tensor:
        """Return rows [offset, offset + length) of the matrix: (length, k) float32."""
        parameters = torch.arange(offset, offset + length, device=device)[:, None]
        blocks = torch.arange(-(-self.proj_dim // self.entries_per_block), device=device)
        key = StreamKey(f"projector/{self.name}", self.seed)
        words = random_words(key, (blocks, parameters, 0, 0))  # (length, blocks, 4)
        entries = self._entries(words).reshape(length, -1)[:, : self.proj_dim]
        return entries.to(torch.float32).mul_(1 / math.sqrt(self.proj_dim))

    def _entries(self, words: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class RademacherProjector(_DenseProjector):
    """Entries ±1 / sqrt(k) with equal probability."""

    name: ClassVar[str] = "rademacher"
    entries_per_block: ClassVar[int] = WORDS_PER_BLOCK * BITS_PER_WORD

    def _entries(self, words: Tensor) -> Tensor:
        return unpacked_bits(words).mul_(-2).add_(1)


@dataclass(frozen=True)
class NormalProjector(_DenseProjector):
    """Entries from a normal distribution of variance 1 / k."""

    name: ClassVar[str] = "normal"
    entries_per_block: ClassVar[int] = WORDS_PER_BLOCK

    def _entries(self, words: Tensor) -> Tensor:
        return normals_from_words(words)
