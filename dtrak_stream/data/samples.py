"""What features are computed of, one sample after the other."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from dtrak_stream.data import ImageShape


class Samples(Protocol):
    """Named tensors in a fixed order: the images of a source, or something made of them."""

    @property
    def shape(self) -> ImageShape:
        """Return the shape of what `image` gives."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def sample_id(self, index: int) -> str:
        """Return the name of sample `index`."""

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the names of samples [start, stop)."""

    def image(self, index: int) -> Tensor:
        """Return sample `index`, float32 of `shape`; raise `BadImageError` if it is unusable."""

    def identity(self) -> str:
        """Return a hash of everything that decides the samples and their order."""
