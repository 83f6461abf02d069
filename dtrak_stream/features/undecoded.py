"""Images of which only those are decoded whose latents are not on disk.

FOLDER/origins.bin  beside latents, for a model that is told it: a row of `checked_rows` for each
                    image, its height and width before it was resized, top and left of its crop
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Condition, ImageOrigin, Samples
from dtrak_stream.features.checked_rows import CheckedRows
from dtrak_stream.features.kept_latents import NOT_DECODED, KeptLatents

_ORIGINS, _ORIGIN = "origins.bin", struct.Struct("<4I")


def kept_origins(folder: Path) -> CheckedRows:
    """Return the rows of what images were before they were resized, in a folder of latents."""
    return CheckedRows(folder / _ORIGINS, _ORIGIN.size)


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
    origins
        What they were before they were resized, for a model that is told it: an image of which
        that is not there is decoded; None for others.
    """

    samples: Samples
    kept: KeptLatents
    origins: CheckedRows | None = None

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
        return self.image_and_origin(index)[0]

    def image_and_origin(self, index: int) -> tuple[Tensor, ImageOrigin | None]:
        """Return the same, and what it was before it was resized, if a model is told that."""
        row = None if self.origins is None else self.origins.read(index)
        if self.kept.has(index) and (self.origins is None or row is not None):
            shape = self.shape
            nothing = torch.tensor(NOT_DECODED).expand(shape.channels, shape.height, shape.width)
            return nothing, None if row is None else ImageOrigin(*_ORIGIN.unpack(row))
        image, origin = self.samples.image_and_origin(index)
        if self.origins is not None and row is None and origin is not None:
            self.kept.begin()
            self.origins.write(index, _ORIGIN.pack(*origin))
        return image, origin

    def identity(self) -> str:
        """Return a hash of everything that decides the samples and their order."""
        return self.samples.identity()

    def images_identity(self) -> str:
        """Return a hash of the images."""
        return self.samples.images_identity()

    def remarks(self) -> list[str]:
        """Return what is to be said of the images that were decoded."""
        return self.samples.remarks()
