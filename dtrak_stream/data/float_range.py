"""Floats that are images: the range they lie in, and how they are brought to [-1, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.options import RangeName
from dtrak_stream.errors import BadImageError, InputError

_ROUNDING_STEPS = 4  # of the type, or of float32 where the type is finer


@dataclass
class FloatRange:
    """The range that a user says floats lie in, and what was seen of the floats so far.

    Attributes
    ----------
    name
        `signed` is [-1, 1], `unit` [0, 1]; `auto` is [-1, 1] for floats some of which are
        negative, and undecided for others.
    where
        What the user calls the source.
    """

    name: RangeName
    where: str
    _some_finite: bool = False
    _some_negative: bool = False

    @property
    def lowest(self) -> int:
        """Return the lower end of the range; the upper one is 1."""
        return 0 if self.name == "unit" else -1

    def decided(self) -> bool:
        """Return whether it is known what the floats seen so far mean, if they mean anything."""
        return self.name != "auto" or self._some_negative or not self._some_finite

    def see(self, block: NDArray[np.floating[Any]]) -> None:
        """Take note of some rows, (rows, ...), without asking whether they are in range."""
        self._some_finite = self._some_finite or bool(np.isfinite(block).any())
        self._some_negative = self._some_negative or bool((block < -_rounding(block.dtype)).any())

    def check(self, block: NDArray[np.floating[Any]], first: int) -> None:
        """See rows `first` and following, (rows, ...); raise `InputError` if one is out of range.

        NaN and infinity are no numbers of any range, and are left to `to_signed`.
        """
        self.see(block)
        offender = self._first_outside(block)
        if offender is None:
            return
        row, number = offender
        signed = "scale floats to [-1, 1] (x / 127.5 - 1), or store uint8"
        unit = "use --float-range signed for floats in [-1, 1], or scale them to [0, 1]"
        raise InputError(
            f"image {first + row} holds {number}, outside [{self.lowest}, 1]",
            where=self.where,
            remedy=unit if self.name == "unit" else signed,
        )

    def refuse_undecided(self) -> None:
        """Raise `InputError` if what was seen could be of either range."""
        if not self.decided():
            raise InputError(
                "none of its floats is negative, so they could lie in [0, 1] as well as in [-1, 1]",
                where=self.where,
                remedy="say which: --float-range unit for [0, 1], --float-range signed for [-1, 1]",
            )

    def to_signed(self, row: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return an image in [-1, 1], float32; what rounding put outside is cut off.

        Raises
        ------
        BadImageError
            If it holds NaN, infinity, or numbers outside the range.
        """
        if not np.isfinite(row).all():
            raise BadImageError("holds NaN or infinity")
        if self._first_outside(row[None]) is not None:
            raise BadImageError(f"holds numbers outside [{self.lowest}, 1]")
        values = row.astype(np.float64)
        if self.lowest == 0:
            values = 2 * values - 1
        return values.clip(-1, 1).astype(np.float32)

    def _first_outside(self, block: NDArray[np.floating[Any]]) -> tuple[int, str] | None:
        """Return row and digits of the first finite number that rounding does not explain."""
        rounding = _rounding(block.dtype)
        low, high = self.lowest - rounding, 1 + rounding
        if block.min() >= low and block.max() <= high:
            return None
        flat = block.reshape(len(block), -1)
        outside = np.isfinite(flat) & ((flat < low) | (flat > high))
        if not outside.any():
            return None
        row, column = np.unravel_index(int(outside.argmax()), outside.shape)
        return int(row), str(flat[row, column])


def _rounding(dtype: np.dtype[Any]) -> float:
    """Return how far rounding may have put a number outside its range."""
    return _ROUNDING_STEPS * float(max(np.finfo(dtype).eps, np.finfo(np.float32).eps))
