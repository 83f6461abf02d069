"""What comes before the network of a latent diffusion model: pixels become what is noised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from dtrak_stream.data.options import ImageShape


class FirstStage(Protocol):
    """Turns images into latents (Rombach et al. 2022), without gradients."""

    @property
    def image_shape(self) -> ImageShape:
        """Return the shape of the images it takes."""

    @property
    def sample_shape(self) -> ImageShape:
        """Return the shape of their latents."""

    @property
    def identity(self) -> str:
        """Return what it is, for fingerprints: equal strings mean the same latents."""

    @property
    def decoding_identity(self) -> str:
        """Return what it is as it decodes: equal strings mean the same images of latents."""

    @property
    def description(self) -> str:
        """Return what it is, in a few words for the user."""

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory its weights take."""

    def latents(self, images: Tensor, sample_ids: Sequence[str]) -> Tensor:
        """Return the latents of images, scaled as the network was trained with them.

        Parameters
        ----------
        images
            (B, C, H, W) float32 in [-1, 1].
        sample_ids
            Whose they are; a drawn latent is keyed by them.

        Returns
        -------
        Tensor
            (B, c, h, w) float32, on the device of `images`.
        """

    def images(self, latents: Tensor) -> Tensor:
        """Return the images that latents stand for.

        Parameters
        ----------
        latents
            (B, c, h, w), scaled as the network makes them.

        Returns
        -------
        Tensor
            (B, C, H, W) float32; pixels may lie beyond [-1, 1] a little.
        """

    def remarks(self) -> list[str]:
        """Return what is to be said of the images met so far, in a sentence each."""
