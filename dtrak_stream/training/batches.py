"""The images of each step: a pure function of the seed and the step number."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dtrak_stream.data.images import Images
from dtrak_stream.data.npy_files import read_npy
from dtrak_stream.errors import BadImageError, InputError
from dtrak_stream.support.random_bits import StreamKey

_SEEDS = 2**32  # torch's CPU generator keeps 32 bits of its seed


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
    bad
        Reason for each image that cannot be used, by position.
    """

    images: Images
    positions: NDArray[np.int64]
    batch_size: int
    seed: int
    cache_bytes: int
    bad: dict[int, str] = field(default_factory=dict)
    _cache: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)
    _order: tuple[int, list[int]] = field(default=(-1, []), init=False, repr=False)

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of batches in one pass over the images."""
        return -(-len(self.positions) // self.batch_size)

    def batch(self, step: int) -> Tensor | None:
        """Return the images of one step, (B, C, H, W) float32; None if all of them are bad.

        Raises
        ------
        InputError
            If no image of the source can be used.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        first = place * self.batch_size
        wanted = self._order_of(epoch)[first : first + self.batch_size]
        decoded = [image for image in map(self._decoded, wanted) if image is not None]
        self._check_some_good()
        return torch.stack(decoded) if decoded else None

    def _order_of(self, epoch: int) -> list[int]:
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(seed_of("order", self.seed, epoch))
            shuffled = torch.randperm(len(self.positions), generator=generator)
            self._order = (epoch, self.positions[shuffled.numpy()].tolist())
        return self._order[1]

    def _decoded(self, position: int) -> Tensor | None:
        if position in self.bad:
            return None
        if position in self._cache:
            return self._cache[position]
        try:
            image = torch.as_tensor(self.images.image(position))
        except BadImageError as error:
            self.bad[position] = error.reason
            return None
        if (len(self._cache) + 1) * image.nbytes <= self.cache_bytes:
            self._cache[position] = image
        return image

    def _check_some_good(self) -> None:
        if len(self.bad) == len(self.positions):
            raise InputError(
                f"none of the {len(self.positions)} images can be used "
                f"(the first: {next(iter(self.bad.values()))})",
                where="--images",
                remedy="check the files, or give another source",
            )


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
