"""Images that are the rows of one array."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.columns import ArraysBeside, Column
from dtrak_stream.data.float_range import FloatRange
from dtrak_stream.data.options import RangeName
from dtrak_stream.data.places import SourceRequest
from dtrak_stream.data.source import (
    UNREADABLE,
    Content,
    Pixels,
    RowNumbers,
    refuse_out_of_reach,
    unusable,
)
from dtrak_stream.errors import InputError
from dtrak_stream.support.progress import progress

_SCAN_BLOCK_BYTES = 16 * 2**20
_LARGE_SCAN_BYTES = 256 * 2**20
_MOST_CHANNELS = 4
_HALF_OF_LARGEST = 8  # ink is counted from 0 to 16
DIGITS = "sklearn:digits"
DIGITS_FILE = Path(__file__).parents[1] / "embedded" / "digits.npz"
"""`images` and `target` of scikit-learn's `load_digits`, as whole numbers."""


class Rows(Protocol):
    """What a NumPy array, a memory map and an HDF5 data set have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (N, H, W) or (N, H, W, C)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of one number."""

    def __getitem__(self, rows: int | slice) -> NDArray[Any]:
        """Return some rows."""


class ArraySource:
    """The rows of an array: (N, H, W) or (N, H, W, C), uint8 or float.

    Parameters
    ----------
    rows
        The array; it is read row by row and never whole.
    where
        What the user calls it.
    key
        Its name inside the file, if it has one.
    outside
        Whether its numbers lie in other files than the one that was named.
    float_range
        The range of its numbers, if they are floats; see `FloatRange`.
    beside
        What else its file holds.

    Raises
    ------
    InputError
        If the array has another shape or type.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        where: str,
        key: str = "",
        outside: bool = False,
        float_range: RangeName = "auto",
        beside: ArraysBeside | None = None,
    ) -> None:
        _require_image_axes(rows.shape, where)
        _require_image_type(rows.dtype, where)
        self._rows = rows
        self._where = where
        self._key = key
        self._outside = outside
        self._float_range: RangeName = float_range
        self._beside = beside or _nothing_beside()

    def __len__(self) -> int:
        return self._rows.shape[0]

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the row numbers as decimal numbers."""
        return [str(index) for index in range(start, stop)]

    def pixels(self, index: int) -> Pixels:
        """Return row `index`, (H, W, C) uint8 or float32 in [-1, 1]."""
        try:
            row = np.asarray(self._rows[index])
        except OSError as error:
            raise unusable(f"{self._where} [{index}]", error) from error
        if row.ndim == 2:
            row = row[:, :, None]
        return row if row.dtype == np.uint8 else self._range().to_signed(row)

    def check(self, rows: RowNumbers, *, visible: bool) -> None:
        """Refuse floats that are out of range, or of an unknown range.

        From the first of the rows to the last they are read block by block. NaN and infinity are
        left to `pixels`: they spoil one image, not the scale of all. Where no number of these rows
        is negative, other rows of the array may tell.
        """
        if self._rows.dtype == np.uint8:
            return
        start, stop = _ends(rows)
        found = self._range()
        shown = visible and (stop - start) * self._row_bytes >= _LARGE_SCAN_BYTES
        with progress(
            stop - start, description="checking the range", unit="image", visible=shown
        ) as bar:
            for first, block in self._blocks(start, stop):
                found.check(block, first)
                bar.update(len(block))
        for _, block in itertools.chain(self._blocks(0, start), self._blocks(stop, len(self))):
            if found.decided():
                return
            found.see(block)
        found.refuse_undecided()

    def layout(self) -> str:
        """Return key, type, row shape, and the range of floats that is not [-1, 1]."""
        is_unit = self._rows.dtype != np.uint8 and self._float_range == "unit"
        ending = " in [0, 1]" if is_unit else ""
        return f"array {self._key!r} {self._rows.dtype.str} {self._rows.shape[1:]}{ending}"

    def contents(self, start: int, stop: int) -> Iterator[Content]:
        """Yield the bytes of each row."""
        for index in range(start, stop):
            try:
                yield Content(np.asarray(self._rows[index]).tobytes())
            except OSError as error:
                refuse_out_of_reach(f"{self._where} [{index}]", error)
                yield Content(UNREADABLE)

    def reaches_outside(self) -> bool:
        """Return whether the numbers lie in other files than the one that was named."""
        return self._outside

    def columns(self) -> Mapping[str, Column]:
        """Return the other arrays of its file that have an entry for each row."""
        return self._beside.columns(len(self))

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return entries `[start, stop)` of another array of its file."""
        return self._beside.column(name, start, stop, len(self))

    def remarks(self) -> list[str]:
        """Return nothing: an array has all of an image and nothing besides."""
        return []

    @property
    def _row_bytes(self) -> int:
        return math.prod(self._rows.shape[1:]) * self._rows.dtype.itemsize

    def _range(self) -> FloatRange:
        return FloatRange(self._float_range, self._where)

    def _blocks(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield rows `[start, stop)` block by block, each with the number of its first row."""
        step = max(1, _SCAN_BLOCK_BYTES // self._row_bytes)
        for first in range(start, stop, step):
            with contextlib.suppress(OSError):  # `pixels` finds out which rows cannot be read
                yield first, np.asarray(self._rows[first : min(first + step, stop)])


def _ends(rows: RowNumbers) -> tuple[int, int]:
    if isinstance(rows, range):
        return rows.start, rows.stop
    return int(rows.min()), int(rows.max()) + 1


def open_digits(request: SourceRequest) -> ArraySource:
    """Open the 1,797 digits, 8x8 grayscale, ink 0 to 16 brought to [-1, 1].

    Raises
    ------
    InputError
        If another of scikit-learn's data sets is named.
    """
    body = request.place.body
    if body != DIGITS:
        raise InputError("is not embedded", where=body, remedy=f"give {DIGITS}")
    images = (_read_digits("ink") / _HALF_OF_LARGEST - 1).astype(np.float32)  # (1797, 8, 8)
    written = {"target": _read_digits("target")}
    forms = {name: (array.shape, array.dtype) for name, array in written.items()}
    beside = ArraysBeside(lambda: forms, written.__getitem__)
    return ArraySource(images, where=DIGITS, key="digits", beside=beside)


def _nothing_beside() -> ArraysBeside:
    return ArraysBeside(dict, dict[str, Any]().__getitem__)


def _read_digits(name: Literal["ink", "target"]) -> NDArray[np.uint8]:
    with np.load(DIGITS_FILE) as arrays:
        return np.asarray(arrays[name], np.uint8)


def _require_image_axes(shape: tuple[int, ...], where: str) -> None:
    remedy = "give an array (N, H, W) or (N, H, W, C)"
    if len(shape) == 3 and 1 <= shape[2] <= _MOST_CHANNELS:
        first, second, last = shape
        raise InputError(
            f"an array of shape {shape} is one image with {last} channels, or {first} images of "
            f"{second}x{last} pixels",
            where=where,
            remedy="save x[None] if it is one image x, x[..., None] if they are several",
        )
    if len(shape) not in (3, 4) or 0 in shape[1:]:
        raise InputError(f"an array of shape {shape} is not images", where=where, remedy=remedy)
    if len(shape) == 4 and shape[1] in (1, 3) and not 1 <= shape[3] <= _MOST_CHANNELS:
        raise InputError(
            f"an array of shape {shape} seems to have its channels before its rows",
            where=where,
            remedy=f"{remedy}: transpose it with (0, 2, 3, 1)",
        )


def _require_image_type(dtype: np.dtype[Any], where: str) -> None:
    if dtype != np.uint8 and not np.issubdtype(dtype, np.floating):
        raise InputError(
            f"numbers of type {dtype} have no agreed range",
            where=where,
            remedy="store uint8 (0 to 255), or float in [-1, 1] or [0, 1]",
        )
