"""Latents on disk, for several featurizations of the same images: encoded once, read afterwards.

FOLDER/latents.json  first stage, images, their number and the shape of latents; written first
FOLDER/latents.bin   a row for each image, in the order of the source: (c, h, w) float32, then the
                     xxh3-64 of those bytes, seeded with the number of the row

A row is there if its checksum holds: one that was never written, or that a crash or two writers
left in pieces, is encoded again. So nothing has to be on disk before anything else is, and any
number of processes may read and write at once.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Samples
from dtrak_stream.errors import CorruptFileError, refuse_differences
from dtrak_stream.model.first_stage import FirstStage
from dtrak_stream.support.destinations import refuse_foreign_folder, refuse_without_room
from dtrak_stream.support.durable import disk_full_explained, write_json
from dtrak_stream.support.name_index import NameIndex
from dtrak_stream.support.names import ListedNames, Places

FLAG = "--cache-latents"
_RECORD, _ROWS = "latents.json", "latents.bin"
_CHECKSUM_BYTES = 8


class LatentRows:
    """The rows of a file of latents; see the top of this module.

    Parameters
    ----------
    path
        The file, there or not.
    count
        Number of rows.
    shape
        Of one of them.
    """

    def __init__(self, path: Path, count: int, shape: ImageShape) -> None:
        self._path = path
        self._count = count
        self._shape = (shape.channels, shape.height, shape.width)
        self._row_bytes = 4 * math.prod(self._shape) + _CHECKSUM_BYTES

    @property
    def missing_bytes(self) -> int:
        """Return how much of the disk the rows that are not there yet will take."""
        taken = self._path.stat().st_blocks * 512 if self._path.is_file() else 0
        return max(0, self._count * self._row_bytes - taken)

    def read(self, place: int) -> NDArray[np.float32] | None:
        """Return a row, (c, h, w); None if it is not there."""
        content = os.pread(self._file, self._row_bytes, place * self._row_bytes)
        row, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
        if len(content) < self._row_bytes or _checksum(row, place) != checksum:
            return None
        return np.frombuffer(row, "<f4").reshape(self._shape)

    def write(self, place: int, latent: NDArray[np.float32]) -> None:
        """Write a row (c, h, w).

        Raises
        ------
        DiskFullError
            If there is no room for it.
        """
        row = np.ascontiguousarray(latent, "<f4").tobytes()
        content = memoryview(row + _checksum(row, place))
        start = place * self._row_bytes
        with disk_full_explained(self._path):
            while content:
                written = os.pwrite(self._file, content, start)
                content, start = content[written:], start + written

    @cached_property
    def _file(self) -> int:
        """Return the open file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)

    def __del__(self) -> None:
        if "_file" in self.__dict__:
            os.close(self._file)


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
        self._rows = LatentRows(self.folder / _ROWS, len(self.samples), self.sample_shape)

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

        Raises
        ------
        InputError
            If it holds something else, or cannot be written to.
        CorruptFileError
            If its record is not what was written.
        FingerprintMismatchError
            If its latents are by another first stage, or of other images.
        DiskFullError
            If there is no room for the latents that are missing.
        """
        refuse_foreign_folder(self.folder, _RECORD, flag=FLAG)
        self._refuse_other_record()
        refuse_without_room(self.folder, self._rows.missing_bytes)

    def latents(self, images: Tensor, sample_ids: Sequence[str]) -> Tensor:
        """Return the latents of images; see `FirstStage.latents`.

        Raises
        ------
        DiskFullError
            If there is no room for those that were encoded.
        FingerprintMismatchError
            If another process began the folder with others meanwhile.
        """
        self._begin()
        places = self._index.places((each.encode() for each in sample_ids), len(sample_ids))
        found = [self._rows.read(place) if place >= 0 else None for place in places.tolist()]
        missing = [number for number, row in enumerate(found) if row is None]
        self.read += len(found) - len(missing)
        self.encoded += len(missing)
        shape = self.sample_shape
        latents = torch.empty(len(found), shape.channels, shape.height, shape.width)
        for number, row in enumerate(found):
            if row is not None:
                latents[number] = torch.from_numpy(row.copy())
        latents = latents.to(images.device)
        if missing:
            ids = [sample_ids[number] for number in missing]
            latents[missing] = made = self.encoder.latents(images[missing], ids)
            self._keep(places[missing], made)
        return latents

    def images(self, latents: Tensor) -> Tensor:
        """Return the images that latents stand for; see `FirstStage.images`."""
        return self.encoder.images(latents)

    def remarks(self) -> list[str]:
        """Return how many latents were read, and what there is to say of encoding."""
        told = f"{self.folder}: {self.read:,} latents read, {self.encoded:,} encoded"
        return [*self.encoder.remarks(), *([told] if self.read or self.encoded else [])]

    def _keep(self, places: Places, latents: Tensor) -> None:
        for place, row in zip(places.tolist(), latents.cpu().numpy(), strict=True):
            if place >= 0 and np.isfinite(row).all():
                self._rows.write(place, row)

    def _begin(self) -> None:
        """Write the record of a folder that has none, before its first row."""
        if self.read or self.encoded:
            return
        if not (self.folder / _RECORD).is_file():
            write_json(self.folder / _RECORD, self._record)
        self._refuse_other_record()

    def _refuse_other_record(self) -> None:
        path = self.folder / _RECORD
        if not path.is_file():
            return
        stored = _read_record(path)
        refuse_differences(
            ((name, stored.get(name), value) for name, value in self._record.items()),
            where=path,
            remedy=f"give another folder as {FLAG}, or what this one was begun with",
        )

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


def _read_record(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text())
    except ValueError as error:
        raise _unreadable(path, f"not readable as JSON ({error})") from error
    if not isinstance(stored, dict):
        raise _unreadable(path, "is no record of latents")
    return stored


def _unreadable(path: Path, what: str) -> CorruptFileError:
    return CorruptFileError(what, where=path, remedy=f"give another folder as {FLAG}")


def _checksum(row: bytes, place: int) -> bytes:
    return xxhash.xxh3_64_digest(row, seed=place)
