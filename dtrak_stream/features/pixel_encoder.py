"""Pixels as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dtrak_stream.data import ImageShape


@dataclass(frozen=True)
class PixelEncoder:
    """Flattens an image in the order channel, row, column.

    Attributes
    ----------
    shape
        Shape of the images.
    """

    shape: ImageShape
    name: ClassVar[str] = "pixels"
    model: ClassVar[str] = "pixels in [-1, 1]"
    weights: ClassVar[str] = "none"
    weight_bytes: ClassVar[int] = 0

    @property
    def length(self) -> int:
        """Return how many numbers an image has."""
        return self.shape.channels * self.shape.height * self.shape.width

    def encode(self, images: Tensor) -> Tensor:
        """Return the numbers of images (B, C, H, W) as (B, C * H * W)."""
        return images.flatten(1)
