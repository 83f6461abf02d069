"""Dense random matrices, regenerated tile by tile and never stored whole.

Entry (i, j) of the matrix is a function of (kind, seed, i, j) alone: column j is the same for
every k, up to the scale 1 / sqrt(k).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from dtrak_stream.support.device import moved
from dtrak_stream.support.random_bits import StreamKey, mixed_words

_TILE_ENTRIES = {"cpu": 2**20, "cuda": 2**25}
_WORDS_PER_ROW = 2**14  # of 64 bits: MAX_PROJ_DIM entries of 16 bits each
_QUANTILES = 2**16


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
        Entries of the matrix that exist at a time; 0 for what suits the device's caches.
    """

    proj_dim: int
    seed: int
    tile_entries: int = 0
    version: int = 2

    name: ClassVar[str]
    entries_per_word: ClassVar[int]
    lookup_bits: ClassVar[torch.dtype]

    def add(self, block: Tensor, offset: int, out: Tensor) -> None:
        """Add the projection of `block` (rows, length) to `out` (rows, k); see `Projector.add`."""
        block = block.to(torch.float32) * (1 / math.sqrt(self.proj_dim))
        tile_entries = self.tile_entries or _TILE_ENTRIES.get(block.device.type, 2**20)
        tile_rows = max(1, tile_entries // self.proj_dim)
        for start in range(0, block.shape[1], tile_rows):
            part = block[:, start : start + tile_rows]
            entries = self._entries(offset + start, part.shape[1], block.device)
            out.addmm_(part, entries)  # (rows, m) @ (m, k) -> (rows, k)

    def matrix(self, offset: int, length: int, device: torch.device) -> Tensor:
        """Return rows [offset, offset + length) of the matrix: (length, k) float32."""
        return self._entries(offset, length, device) / math.sqrt(self.proj_dim)

    def _entries(self, offset: int, length: int, device: torch.device) -> Tensor:
        """Return rows of the matrix times sqrt(k), looked up by the bits of hashed words."""
        words_per_row = -(-self.proj_dim // self.entries_per_word)
        rows = torch.arange(offset, offset + length, device=device)[:, None]
        # rows are as far apart as the largest k needs, so that a column is the same for every k
        counters = rows * _WORDS_PER_ROW + torch.arange(words_per_row, device=device)
        words = mixed_words(StreamKey(f"projector/{self.name}", self.seed), counters)
        places = words.view(self.lookup_bits).to(torch.int32).reshape(-1)
        table = self._table(device)
        # looking up numbers is three times as fast as looking up rows of one number
        entries = table.squeeze(1).index_select(0, places).reshape(length, -1)
        return entries[:, : self.proj_dim]

    def _table(self, device: torch.device) -> Tensor:
        """Return what each pattern of lookup bits stands for: (patterns, entries of each)."""
        raise NotImplementedError


@dataclass(frozen=True)
class RademacherProjector(_DenseProjector):
    """Entries ±1 / sqrt(k) with equal probability."""

    name: ClassVar[str] = "rademacher"
    entries_per_word: ClassVar[int] = 64
    lookup_bits: ClassVar[torch.dtype] = torch.uint8

    def _table(self, device: torch.device) -> Tensor:
        return _signs_of_bytes(device)


@dataclass(frozen=True)
class NormalProjector(_DenseProjector):
    """Entries from a normal distribution of variance 1 / k, in 65,536 equally likely steps."""

    name: ClassVar[str] = "normal"
    entries_per_word: ClassVar[int] = 4
    lookup_bits: ClassVar[torch.dtype] = torch.uint16

    def _table(self, device: torch.device) -> Tensor:
        return _normal_quantiles(device)


@cache
def _signs_of_bytes(device: torch.device) -> Tensor:
    """Return the eight signs that a byte stands for, lowest bit first: (256, 8) float32."""
    bits = torch.arange(256)[:, None] >> torch.arange(8) & 1
    return moved((1 - 2 * bits).to(torch.float32), device)


@cache
def _normal_quantiles(device: torch.device) -> Tensor:
    """Return the mean of each of 65,536 equally likely slices of a normal, (65,536, 1) float32.

    Scaled to variance 1, which the slices' means fall short of by 1e-5 or so. Computed on the
    CPU, so that all devices have the same.
    """
    from scipy.special import ndtri  # no other projector needs SciPy

    edges = ndtri(np.linspace(0, 1, _QUANTILES + 1))
    density = np.exp(-np.square(edges) / 2) / math.sqrt(2 * math.pi)
    means = (density[:-1] - density[1:]) * _QUANTILES
    means /= math.sqrt(np.mean(np.square(means)))
    return moved(torch.from_numpy(means).to(torch.float32), device)[:, None]
