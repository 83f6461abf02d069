"""Images that are the rows of one array."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.source import UNREADABLE, Pixels, brief
from dtrak_stream.errors import BadImageError, InputError
from dtrak_stream.support.progress import progress

_SCAN_BLOCK_BYTES = 16 * 2**20
_LARGE_SCAN_BYTES = 256 * 2**20
_HALF_OF_LARGEST = 8  # ink is counted from 0 to 16
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
    """The rows of an array: (N, H, W) or (N, H, W, C), uint8 or float in [-1, 1].

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

    Raises
    ------
    InputError
        If the array has another shape or type.
    """

    def __init__(self, rows: Rows, *, where: str, key: str = "", outside: bool = False) -> None:
        _require_image_axes(rows.shape, where)
        _require_image_type(rows.dtype, where)
        self._rows = rows
        self._where = where
        self._key = key
        self._outside = outside

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
            raise BadImageError(f"cannot be read ({brief(error)})") from error
        if row.ndim == 2:
            row = row[:, :, None]
        return row if row.dtype == np.uint8 else _checked_float(row)

    def check(self, start: int, stop: int, *, visible: bool) -> None:
        """Refuse floats outside [-1, 1] in rows `[start, stop)`, reading block by block.

        NaN and infinity are left to `pixels`: they spoil one image, not the scale of all.
        """
        if self._rows.dtype == np.uint8:
            return
        row_bytes = math.prod(self._rows.shape[1:]) * self._rows.dtype.itemsize
        step = max(1, _SCAN_BLOCK_BYTES // row_bytes)
        shown = visible and (stop - start) * row_bytes >= _LARGE_SCAN_BYTES
        with progress(
            stop - start, description="checking the range", unit="image", visible=shown
        ) as bar:
            for first in range(start, stop, step):
                last = min(first + step, stop)
                self._check_block(first, last)
                bar.update(last - first)

    def layout(self) -> str:
        """Return key, type and row shape."""
        return f"array {self._key!r} {self._rows.dtype.str} {self._rows.shape[1:]}"

    def contents(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes of each row."""
        for index in range(start, stop):
            try:
                yield np.asarray(self._rows[index]).tobytes()
            except OSError:
                yield UNREADABLE

    def reaches_outside(self) -> bool:
        """Return whether the numbers lie in other files than the one that was named."""
        return self._outside

    def _check_block(self, first: int, last: int) -> None:
        with contextlib.suppress(OSError):  # `pixels` finds out which rows cannot be read
            offender = _first_out_of_range(np.asarray(self._rows[first:last]))
            if offender is not None:
                row, value = offender
                raise InputError(
                    f"image {first + row} holds {value:g}, outside [-1, 1]",
                    where=self._where,
                    remedy="scale floats to [-1, 1] (x / 127.5 - 1), or store uint8",
                )


def open_digits() -> ArraySource:
    """Open the 1,797 digits, 8x8 grayscale, ink 0 to 16 brought to [-1, 1]."""
    images = (_read_digits("ink") / _HALF_OF_LARGEST - 1).astype(np.float32)  # (1797, 8, 8)
    return ArraySource(images, where="sklearn:digits", key="digits")


def digits_written() -> NDArray[np.uint8]:
    """Return which digit each of the 1,797 images shows, (1797,)."""
    return _read_digits("target")


def _read_digits(name: Literal["ink", "target"]) -> NDArray[np.uint8]:
    with np.load(DIGITS_FILE) as arrays:
        return np.asarray(arrays[name], np.uint8)


def _first_out_of_range(block: NDArray[np.floating[Any]]) -> tuple[int, float] | None:
    """Return row and value of the first finite number outside [-1, 1]."""
    if block.min() >= -1 and block.max() <= 1:
        return None
    flat = block.reshape(len(block), -1)
    outside = np.isfinite(flat) & (np.abs(flat) > 1)
    if not outside.any():
        return None
    row, column = np.unravel_index(int(outside.argmax()), outside.shape)
    return int(row), float(flat[row, column])


def _checked_float(row: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    if not np.isfinite(row).all():
        raise BadImageError("holds NaN or infinity")
    if np.abs(row).max() > 1:
        raise BadImageError("holds numbers outside [-1, 1]")
    return row.astype(np.float32)


def _require_image_axes(shape: tuple[int, ...], where: str) -> None:
    remedy = "give an array (N, H, W) or (N, H, W, C)"
    if len(shape) not in (3, 4) or 0 in shape[1:]:
        raise InputError(f"an array of shape {shape} is not images", where=where, remedy=remedy)
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 2, 3, 4):
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
            remedy="store uint8 (0 to 255), or float in [-1, 1]",
        )
