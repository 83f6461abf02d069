"""What a projector is: a linear map applied to a gradient slice by slice as it arrives."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

MIN_PROJ_DIM = 64
MAX_PROJ_DIM = 65_536
PROJ_DIM_STEP = 64


class Projector(Protocol):
    """A random linear map P from gradients (p,) to features (k,) with E<Px, Py> = <x, y>.

    The map is a pure function of (name, version, seed, k): it is the same on every device and
    for every way of slicing the gradient.
    """

    @property
    def name(self) -> str:
        """Return the name it has on the command line."""

    @property
    def version(self) -> int:
        """Return a number that changes whenever the same seed would give another map."""

    @property
    def proj_dim(self) -> int:
        """Return k, the length of a feature."""

    def add(self, block: Tensor, offset: int, out: Tensor) -> None:
        """Add the projection of a slice of the gradients to `out`.

        Parameters
        ----------
        block
            (rows, length): gradients of `rows` samples at parameters
            [offset, offset + length). Its contents may be overwritten.
        offset
            Place of the slice in the flat parameter vector.
        out
            (rows, k) float32 on the device of `block`, added to in place.
        """
