"""What maps an image to numbers without looking at any diffusion model, such as its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from dtrak_stream.data.options import ImageShape


class ImageEncoder(Protocol):
    """Maps images to vectors, each image by itself."""

    @property
    def name(self) -> str:
        """Return the name it has as an output function."""

    @property
    def length(self) -> int:
        """Return how many numbers an image becomes."""

    @property
    def model(self) -> str:
        """Return what it is and how it prepares images, for the fingerprint."""

    @property
    def weights(self) -> str:
        """Return a hash of its weights; `none` if it has none."""

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory its weights take."""

    def encode(self, images: Tensor) -> Tensor:
        """Return the vectors of images.

        Parameters
        ----------
        images
            (B, C, H, W) float32 in [-1, 1], on the host.

        Returns
        -------
        Tensor
            (B, length) float32, wherever it was computed.
        """


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
