"""What maps an image to numbers without looking at any diffusion model."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


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
            (B, C, H, W) float32 in [-1, 1].

        Returns
        -------
        Tensor
            (B, length) float32.
        """
