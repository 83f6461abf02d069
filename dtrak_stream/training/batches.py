"""The images of each step: a pure function of the seed and the step number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dtrak_stream.data.images import Images
from dtrak_stream.data.npy_files import read_npy
from dtrak_stream.data.samples import Condition, SampleBatch, joined, read_batch
from dtrak_stream.errors import InputError
from dtrak_stream.support.random_bits import StreamKey

_SEEDS = 2**32  # torch's CPU generator keeps 32 bits of its seed
_UNTOLD = ""

Encode: TypeAlias = Callable[[Tensor, Sequence[str]], Tensor]
"""(images (1, C, H, W), ids) -> what is noised of them, (1, c, h, w) on the CPU."""


def seed_of(purpose: str, seed: int, number: int = 0) -> int:
    """Return a seed for torch; numbers of one purpose never share one (up to 2**32 of them)."""
    first, _ = StreamKey(f"training/{purpose}", seed).words()
    return (first + number) % _SEEDS


@dataclass
class ImageBatches:
    """Batches in a fresh order every epoch. Bad images are left out of their batch and noted.

    Attributes
    ----------
    images
        Where images come from.
    positions
        (N,) int64, the images that are trained on.
    batch_size, seed
        Images of one step; seed of the order.
    cache_bytes
        Memory for decoded images. Those that do not fit are decoded whenever they are needed.
    encode
        What is made of each image, alone: its bits do not depend on what is in memory already.
    caption_dropout
        Share of the captions that are replaced by the empty one, drawn anew in every step.
    bad
        Reason for each image that cannot be used, by position.
    """

    images: Images
    positions: NDArray[np.int64]
    batch_size: int
    seed: int
    cache_bytes: int
    encode: Encode = lambda images, _ids: images
    caption_dropout: float = 0.0
    bad: dict[int, str] = field(default_factory=dict)
    _cache: dict[int, SampleBatch] = field(default_factory=dict, init=False, repr=False)
    _cached_bytes: int = field(default=0, init=False, repr=False)
    _order: tuple[int, list[int]] = field(default=(-1, []), init=False, repr=False)

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of batches in one pass over the images."""
        return -(-len(self.positions) // self.batch_size)

    def batch(self, step: int) -> SampleBatch | None:
        """Return the images of one step, (B, C, H, W) float32; None if all of them are bad.

        They have their captions or labels, if `images` was opened with them.

        Raises
        ------
        InputError
            If no image of the source can be used.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        first = place * self.batch_size
        wanted = self._order_of(epoch)[first : first + self.batch_size]
        samples = [sample for sample in map(self._sample, wanted) if sample is not None]
        self._check_some_good()
        return self._with_drops(joined(samples), step) if samples else None

    def _order_of(self, epoch: int) -> list[int]:
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(seed_of("order", self.seed, epoch))
            shuffled = torch.randperm(len(self.positions), generator=generator)
            self._order = (epoch, self.positions[shuffled.numpy()].tolist())
        return self._order[1]

    def _sample(self, position: int) -> SampleBatch | None:
        if position in self.bad:
            return None
        if position in self._cache:
            return self._cache[position]
        samples, reasons = read_batch(self.images, range(position, position + 1))
        self.bad |= reasons
        if reasons:
            return None
        sample = replace(samples, tensors=self.encode(samples.tensors, samples.ids))
        size = sample.tensors.nbytes + sum(map(_size_of, sample.conditions or ()))
        if self._cached_bytes + size <= self.cache_bytes:
            self._cache[position] = sample
            self._cached_bytes += size
        return sample

    def _with_drops(self, samples: SampleBatch, step: int) -> SampleBatch:
        if not self.caption_dropout or samples.conditions is None:
            return samples
        generator = torch.Generator().manual_seed(seed_of("dropped captions", self.seed, step))
        dropped = torch.rand(len(samples), generator=generator) < self.caption_dropout
        told: tuple[Condition, ...] = tuple(
            _UNTOLD if is_dropped else caption
            for caption, is_dropped in zip(samples.conditions, dropped.tolist(), strict=True)
        )
        return replace(samples, conditions=told)

    def _check_some_good(self) -> None:
        if len(self.bad) == len(self.positions):
            raise InputError(
                f"none of the {len(self.positions)} images can be used "
                f"(the first: {next(iter(self.bad.values()))})",
                where="--images",
                remedy="check the files, or give another source",
            )


def _size_of(condition: Condition) -> int:
    return len(condition) if isinstance(condition, str) else 0


def positions_to_train_on(count: int, subset: Path | None) -> NDArray[np.int64]:
    """Return the image numbers to train on: all `count` of them, or those in the file `subset`.

    Raises
    ------
    InputError
        If the file is not a .npy of different whole numbers from 0 to `count` - 1.
    """
    if subset is None:
        return np.arange(count)
    chosen = read_npy(subset, holds="image numbers")
    if not _numbers_below(count, chosen):
        raise InputError(
            "not a list of different image numbers",
            where=subset,
            remedy=f"give whole numbers from 0 to {count - 1}, each at most once",
        )
    return np.asarray(chosen, dtype=np.int64)


def _numbers_below(count: int, chosen: NDArray[Any]) -> bool:
    return (
        chosen.ndim == 1
        and chosen.size > 0
        and np.issubdtype(chosen.dtype, np.integer)
        and bool(chosen.min() >= 0)
        and bool(chosen.max() < count)
        and len(np.unique(chosen)) == len(chosen)
    )
