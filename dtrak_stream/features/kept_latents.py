"""Latents on disk, for several featurizations of the same images: encoded once, read afterwards.

FOLDER/latents.json  first stage, images, their number and the shape of latents; written first
FOLDER/latents.bin   a row of `checked_rows` for each image, in the order of the source: (c, h, w)
                     float32
FOLDER/prompts/      embeddings of captions; see `kept_prompts`

A row that is not there is encoded alone: the last bits of a latent depend on how many are encoded
with it, and which others are missing differs between a run and its continuation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Samples
from dtrak_stream.errors import BadImageError, InputError
from dtrak_stream.features.checked_rows import CheckedRows
from dtrak_stream.features.kept_record import FLAG, LATENTS
from dtrak_stream.model.first_stage import FirstStage
from dtrak_stream.support.destinations import refuse_foreign_folder
from dtrak_stream.support.device import moved
from dtrak_stream.support.name_index import NameIndex
from dtrak_stream.support.names import ListedNames

NOT_DECODED = math.nan
"""Every pixel of an image that was not decoded, for its latent is there."""

_RECORD, _ROWS = "latents.json", "latents.bin"


@dataclass
class KeptLatents:
    """A first stage that encodes each image of one source once, and reads its latent afterwards.

    Attributes
    ----------
    encoder
        What encodes the images whose latents are not there.
    folder
        Where latents are kept.
    samples
        The images. Others are encoded, and not kept.
    read, encoded
        How many latents were read, and how many were not there.
    """

    encoder: FirstStage
    folder: Path
    samples: Samples
    read: int = field(default=0, init=False)
    encoded: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        shape = self.sample_shape
        self._shape = (shape.channels, shape.height, shape.width)
        self._rows = CheckedRows(self.folder / _ROWS, 4 * math.prod(self._shape))

    @property
    def image_shape(self) -> ImageShape:
        """Return the shape of the images it takes."""
        return self.encoder.image_shape

    @property
    def sample_shape(self) -> ImageShape:
        """Return the shape of their latents."""
        return self.encoder.sample_shape

    @property
    def identity(self) -> str:
        """Return what it is: what encodes, for latents are the same wherever they come from."""
        return self.encoder.identity

    @property
    def decoding_identity(self) -> str:
        """Return what decodes."""
        return self.encoder.decoding_identity

    @property
    def description(self) -> str:
        """Return what encodes."""
        return self.encoder.description

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory its weights take."""
        return self.encoder.weight_bytes

    def refuse_other(self) -> None:
        """Refuse a folder that is none of latents, or is one of other latents; writes nothing.

        Whether there is room for those that are missing is another matter: see `missing_bytes`.

        Raises
        ------
        InputError
            If it holds something else, or cannot be written to.
        CorruptFileError
            If its record is not what was written.
        FingerprintMismatchError
            If its latents are by another first stage, or of other images.
        """
        refuse_foreign_folder(self.folder, _RECORD, flag=FLAG)
        path = self.folder / _RECORD
        stored = LATENTS.read(path)
        if stored is not None:
            LATENTS.refuse_other(stored, self._record, where=path)

    @property
    def missing_bytes(self) -> int:
        """Return how much of the disk the latents that are not there yet will take."""
        return max(0, len(self.samples) * self._rows.row_bytes - self._rows.taken_bytes)

    def has(self, place: int) -> bool:
        """Return whether the latent of an image is there. Several threads call it at once."""
        return self._rows.read(place) is not None

    def latents(self, images: Tensor, sample_ids: Sequence[str]) -> Tensor:
        """Return the latents of images; see `FirstStage.latents`.

        Raises
        ------
        DiskFullError
            If there is no room for those that were encoded.
        FingerprintMismatchError
            If another process began the folder with others meanwhile.
        """
        if not (self.read or self.encoded):
            self.begin()
        places = self._index.places((each.encode() for each in sample_ids), len(sample_ids))
        latents = torch.empty(len(images), *self._shape)
        for number, place in enumerate(places.tolist()):
            row = self._rows.read(place) if place >= 0 else None
            if row is None:
                found = self._encoded(images[number], sample_ids[number], place)
            else:
                found = torch.frombuffer(bytearray(row), dtype=torch.float32).reshape(self._shape)
                self.read += 1
            latents[number] = found
        return moved(latents, images.device)

    def images(self, latents: Tensor) -> Tensor:
        """Return the images that latents stand for; see `FirstStage.images`."""
        return self.encoder.images(latents)

    def remarks(self) -> list[str]:
        """Return how many latents were read, and what there is to say of encoding."""
        told = f"{self.folder}: {self.read:,} latents read, {self.encoded:,} encoded"
        return [*self.encoder.remarks(), *([told] if self.read or self.encoded else [])]

    def _encoded(self, image: Tensor, sample_id: str, place: int) -> Tensor:
        """Return the latent (c, h, w) of an image, and keep it if it is one of `samples`."""
        if place >= 0 and bool(image.isnan().all()):  # its row was there a moment ago
            image = self._decoded(place).to(image.device)
        latent = self.encoder.latents(image[None], [sample_id])[0].cpu()
        self.encoded += 1
        if place >= 0 and bool(latent.isfinite().all()):
            self._rows.write(place, latent.numpy().astype("<f4").tobytes())
        return latent

    def _decoded(self, place: int) -> Tensor:
        try:
            return self.samples.image(place)
        except BadImageError as error:
            raise InputError(
                f"could be read before, and now cannot ({error.reason})",
                where=self.samples.sample_id(place),
                remedy="put the image back as it was",
            ) from error

    def begin(self) -> None:
        """Write the record of a folder that has none: before anything else is kept in it.

        Raises
        ------
        FingerprintMismatchError
            If another process began it with others meanwhile.
        """
        LATENTS.begin(self.folder / _RECORD, self._record)

    @cached_property
    def _record(self) -> dict[str, Any]:
        return {
            "first stage": self.encoder.identity,
            "shape of images": str(self.image_shape),
            "shape of latents": str(self.sample_shape),
            "samples": len(self.samples),
            "images": self.samples.images_identity(),
        }

    @cached_property
    def _index(self) -> NameIndex:
        return NameIndex(ListedNames(self.samples.sample_ids, range(len(self.samples))))
