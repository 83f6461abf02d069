"""The rotation sketch: signs, a hashed rotation of each row, and a sum.

The gradient is cut into rows of k entries. Every entry gets a hashed sign, row j is
rotated by a hashed shift, and the rows are summed modulo k. It is a count sketch (Charikar, Chen
and Farach-Colton 2002) whose buckets are rotations: every entry is read once and contiguously,
nothing is stored, and the variance of an inner product is that of a dense matrix of signs.

Rotations are modulo k, so the sum of the two halves of a feature is a rotation sketch of k / 2.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from dtrak_stream.support.device import moved
from dtrak_stream.support.random_bits import BITS_PER_WORD, WORDS_PER_BLOCK, StreamKey, random_words

_SIGNS_PER_BLOCK = BITS_PER_WORD * WORDS_PER_BLOCK
_KEPT_SIGNS = 256 * 2**20  # one byte each: slices come again for every batch


@dataclass(frozen=True)
class SketchProjector:
    """Rotation sketch of gradients.

    Attributes
    ----------
    proj_dim
        k, the length of a feature.
    seed
        The user's seed.
    """

    proj_dim: int
    seed: int
    name: str = "sketch"
    version: int = 1
    _kept_signs: dict[tuple[int, int, torch.device], Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    _kept_words: dict[tuple[int, int, torch.device], tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _kept_pieces: dict[tuple[int, int], list[tuple[int, int, int]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def add(self, block: Tensor, offset: int, out: Tensor) -> None:
        """Add the sketch of `block` (rows, length) to `out` (rows, k); see `Projector.add`."""
        block = block.to(torch.float32)
        if block.is_cuda and _has_triton():
            self.add_fused(block, offset, out)
            return
        signs = self.signs(offset, block.shape[1], block.device)
        for start, stop, column in self._pieces(offset, block.shape[1]):
            target = out[:, column : column + stop - start]
            target.addcmul_(block[:, start:stop], signs[start:stop])

    def add_fused(self, block: Tensor, offset: int, out: Tensor) -> None:
        """Do what `add` does by one GPU kernel, to the same bits or, for long slices, nearly so."""
        from dtrak_stream.projectors.sketch_triton import add_sketch

        length = block.shape[1]
        first_row = offset // self.proj_dim
        first_word = offset // _SIGNS_PER_BLOCK * WORDS_PER_BLOCK
        place = (offset, length, block.device)
        if place not in self._kept_words:
            words = self._sign_words(offset, length, block.device)
            shifts = torch.tensor(self._shifts(offset, length), dtype=torch.int32)
            self._kept_words[place] = words.to(torch.int32), moved(shifts, block.device)
        sign_words, rotations = self._kept_words[place]
        add_sketch(
            block if block.stride(1) == 1 else block.contiguous(),
            offset,
            out,
            sign_words=sign_words,
            first_word=first_word,
            shifts=rotations,
            first_row=first_row,
        )

    def signs(self, offset: int, length: int, device: torch.device) -> Tensor:
        """Return the signs, ±1 as int8 (length,), of parameters [offset, offset + length)."""
        place = (offset, length, device)
        if place not in self._kept_signs:
            signs = self._hashed_signs(offset, length, device)
            if sum(map(len, self._kept_signs.values())) + length > _KEPT_SIGNS:
                return signs
            self._kept_signs[place] = signs
        return self._kept_signs[place]

    def _hashed_signs(self, offset: int, length: int, device: torch.device) -> Tensor:
        start = offset % _SIGNS_PER_BLOCK
        bits = unpacked_bits(self._sign_words(offset, length, device))[start : start + length]
        return bits.mul_(-2).add_(1)

    def _sign_words(self, offset: int, length: int, device: torch.device) -> Tensor:
        """Return the words, 32 sign bits each, of the whole blocks that a slice lies in."""
        first = offset // _SIGNS_PER_BLOCK
        last = -(-(offset + length) // _SIGNS_PER_BLOCK)
        counters = torch.arange(first, last, device=device)
        key = StreamKey("projector/sketch/sign", self.seed)
        return random_words(key, (counters, 0, 0, 0)).reshape(-1)

    def _pieces(self, offset: int, length: int) -> list[tuple[int, int, int]]:
        """Return (start, stop, column of `out`) of the pieces of a slice that stay together."""
        place = (offset, length)
        if place not in self._kept_pieces:
            self._kept_pieces[place] = list(self._cut(offset, length))
        return self._kept_pieces[place]

    def _cut(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Cut a slice where a row of the sketch ends and where a rotation wraps around."""
        shifts = self._shifts(offset, length)
        for (start, stop, column), shift in zip(
            self._row_parts(offset, length), shifts, strict=True
        ):
            while start < stop:
                target = (column + shift) % self.proj_dim
                end = min(stop, start + self.proj_dim - target)
                yield start, end, target
                start, column = end, column + end - start

    def _shifts(self, offset: int, length: int) -> list[int]:
        first = offset // self.proj_dim
        last = -(-(offset + length) // self.proj_dim) if length else first
        key = StreamKey("projector/sketch/shift", self.seed)
        words = random_words(key, (torch.arange(first, last), 0, 0, 0))[:, 0]
        shifts: list[int] = (words % self.proj_dim).tolist()
        return shifts

    def _row_parts(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Yield (start, stop, column of start) of each piece of a slice that lies in one row."""
        start = 0
        while start < length:
            column = (offset + start) % self.proj_dim
            stop = min(length, start + self.proj_dim - column)
            yield start, stop, column
            start = stop


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def unpacked_bits(words: Tensor) -> Tensor:
    """Return the 32 bits of each word, lowest first: (..., m) int64 -> (..., 32 m) int8."""
    low_bytes = words.contiguous().view(torch.uint8).reshape(*words.shape, 8)[..., :4]
    places = torch.arange(8, dtype=torch.uint8, device=words.device)
    bits: Tensor = (low_bytes.unsqueeze(-1) >> places).bitwise_and_(1)  # (..., m, 4, 8)
    return bits.flatten(-3).view(torch.int8)
