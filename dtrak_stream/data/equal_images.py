"""Images of one source that are equal to the byte: found by their hashes while they are read."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.data.source import UNREADABLE
from dtrak_stream.support.durable import durable_path
from dtrak_stream.support.table_cells import cell_of

EQUAL_IMAGES_NAME = "equal_images.csv"
"""The file in a store that lists them."""

_HEADER = ("sample_id", "equal_to")


@dataclass(frozen=True)
class EqualImages:
    """Which images are there more than once.

    Attributes
    ----------
    repeats
        (n, 2) int64, in order: an image that was there before, and where it was for the first time.
    """

    repeats: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many images are another one again."""
        return len(self.repeats)

    def line(self, name: Callable[[int], str]) -> str:
        """Return what is to be said of them, given what returns the name of an image."""
        again, first = map(int, self.repeats[0])
        images = "1 image is" if len(self) == 1 else f"{len(self):,} images are"
        return f"{images} equal to an earlier one (the first: {name(again)} = {name(first)})"

    def write(self, path: Path, name: Callable[[int], str]) -> None:
        """List them by name: CSV, an image and the one it is equal to on each line."""
        with durable_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(_HEADER)
            for again, first in self.repeats:
                rows.writerow((cell_of(name(int(again))), cell_of(name(int(first)))))


class PictureHashes:
    """Collects what stands for each of some images: 16 bytes.

    Parameters
    ----------
    count
        Number of images.
    """

    def __init__(self, count: int) -> None:
        self._hashes = np.empty(count, "S16")
        self._seen = 0

    def add(self, picture: bytes) -> None:
        """Add the next image; two that cannot be read are not equal."""
        known = picture if picture != UNREADABLE else b"%s %d" % (UNREADABLE, self._seen)
        self._hashes[self._seen] = xxhash.xxh3_128_digest(known)
        self._seen += 1

    def equal(self) -> EqualImages:
        """Return which of the images that were added are equal to an earlier one."""
        hashes = self._hashes[: self._seen]
        order = np.argsort(hashes, kind="stable")
        is_first = np.ones(len(order), np.bool_)
        is_first[1:] = hashes[order[1:]] != hashes[order[:-1]]
        firsts = order[is_first][np.cumsum(is_first) - 1]  # of each image, in the order of hashes
        repeats = np.stack([order, firsts], axis=1)[~is_first]
        return EqualImages(repeats[np.argsort(repeats[:, 0])].astype(np.int64))
