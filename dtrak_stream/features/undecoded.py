"""Images of which only those are decoded whose latents are not on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Condition, Samples
from dtrak_stream.features.kept_latents import NOT_DECODED, KeptLatents


@dataclass(frozen=True)
class UndecodedSamples:
    """Samples whose images are pixels of NaN wherever `kept` has their latents.

    Whatever is found out about the images, such as their identity, is that of all of them.

    Attributes
    ----------
    samples
        Images of a source.
    kept
        Their latents.
    """

    samples: Samples
    kept: KeptLatents

    @property
    def shape(self) -> ImageShape:
        """Return the shape of an image."""
        return self.samples.shape

    @property
    def path(self) -> tuple[int, ...] | None:
        """Return None: a sample is one image."""
        return self.samples.path

    def __len__(self) -> int:
        return len(self.samples)

    def sample_id(self, index: int) -> str:
        """Return the name of image `index`."""
        return self.samples.sample_id(index)

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the names of images [start, stop)."""
        return self.samples.sample_ids(start, stop)

    def conditions(self, start: int, stop: int) -> Sequence[Condition] | None:
        """Return what images [start, stop) are of."""
        return self.samples.conditions(start, stop)

    def image(self, index: int) -> Tensor:
        """Return image `index`, or NaN of its shape; raise `BadImageError` if it is unusable."""
        if not self.kept.has(index):
            return self.samples.image(index)
        shape = self.shape
        return torch.tensor(NOT_DECODED).expand(shape.channels, shape.height, shape.width)

    def identity(self) -> str:
        """Return a hash of everything that decides the samples and their order."""
        return self.samples.identity()

    def images_identity(self) -> str:
        """Return a hash of the images."""
        return self.samples.images_identity()

    def remarks(self) -> list[str]:
        """Return what is to be said of the images that were decoded."""
        return self.samples.remarks()
