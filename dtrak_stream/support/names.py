"""Names of many things: read, compared and written a block at a time, never held all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_BLOCK = 2**14
_BLOCK_BYTES = 2**23
_USUAL_WIDTH = 256
_PADDED_BYTES = 2**26

Places = NDArray[np.int64]


class Names(Protocol):
    """Names as UTF-8 bytes, read a slice at a time."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, places: slice, /) -> Iterable[bytes]:
        """Return some of them."""


def blocks_of(names: Names) -> Iterator[list[bytes]]:
    """Yield all names in order, a bounded number at a time."""
    for first in range(0, len(names), _BLOCK):
        yield [bytes(name) for name in names[first : first + _BLOCK]]


def each_of(names: Names) -> Iterator[bytes]:
    """Yield all names in order."""
    for block in blocks_of(names):
        yield from block


def name_at(names: Names, place: int) -> str:
    """Return one name as text."""
    return bytes(next(iter(names[place : place + 1]))).decode(errors="replace")


def fixed_width_names(array: Any, places: slice) -> list[bytes]:
    """Return some names of an array of fixed width (NumPy's, or a data set of HDF5).

    Each takes its own length in memory, not the width of the longest of all.
    """
    rows = range(len(array))[places]
    step = max(1, _BLOCK_BYTES // max(1, array.dtype.itemsize))
    cuts = range(rows.start, rows.stop, step)
    return [name for cut in cuts for name in array[cut : min(cut + step, rows.stop)].tolist()]


@dataclass(frozen=True)
class FixedWidthNames:
    """The names in an array of fixed width, read when asked for; a slice of them is a list.

    Attributes
    ----------
    array
        (n,) UTF-8: NumPy's, or a data set of an open HDF5 file.
    """

    array: Any

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, places: slice) -> list[bytes]:
        return fixed_width_names(self.array, places)

    def at(self, places: Places) -> list[bytes]:
        """Return the names in some places, in any order."""
        if self._small is not None:
            names: list[bytes] = self._small[places].tolist()
            return names
        unique, inverse = np.unique(places, return_inverse=True)
        step = max(1, _BLOCK_BYTES // self.array.dtype.itemsize)
        cuts = range(0, len(unique), step)
        found = [name for cut in cuts for name in self.array[unique[cut : cut + step]].tolist()]
        return [found[place] for place in inverse]

    @cached_property
    def _small(self) -> NDArray[np.bytes_] | None:
        """Return all of them, if that is not much: single ones are slow to read from a file."""
        nbytes = len(self) * self.array.dtype.itemsize
        return np.asarray(self.array[:]) if nbytes <= _PADDED_BYTES else None


@dataclass(frozen=True)
class ListedNames:
    """Names that something lists as texts when asked for.

    Attributes
    ----------
    listed
        Returns those in places [start, stop).
    places
        Which of them are meant.
    """

    listed: Callable[[int, int], list[str]]
    places: range

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, places: slice) -> list[bytes]:
        chosen = self.places[places]
        return [name.encode() for name in self.listed(chosen.start, chosen.stop)]


def write_names(file: Any, name: str, names: Names, width: int) -> None:
    """Write names as a data set (n,) of fixed width into an open HDF5 file, a block at a time.

    Where few of them are as long as that and the rest would be padded to gigabytes, it is
    compressed, which readers do not notice.
    """
    step = max(1, min(len(names), _BLOCK, _BLOCK_BYTES // width))
    padded = len(names) * width > _PADDED_BYTES and width > _USUAL_WIDTH
    storage = {"chunks": (step,), "compression": 1} if padded else {}
    dataset = file.create_dataset(name, (len(names),), f"S{width}", **storage)
    for first in range(0, len(names), step):
        block = list(names[first : first + step])
        dataset[first : first + len(block)] = np.array(block, f"S{width}")


def first_difference(one: Names, other: Names) -> int | None:
    """Return the first place at which two lists of one length differ; None if they do not."""
    start = 0
    for ours, theirs in zip(blocks_of(one), blocks_of(other), strict=True):
        if ours != theirs:
            pairs = enumerate(zip(ours, theirs, strict=True), start=start)
            return next(place for place, (mine, yours) in pairs if mine != yours)
        start += len(ours)
    return None
