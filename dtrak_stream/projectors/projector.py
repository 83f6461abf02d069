"""What a projector is: a linear map applied to a gradient slice by slice as it arrives.

With those that are not random themselves: the identity, and one map for several gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
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


@dataclass(frozen=True)
class IdentityProjector:
    """Copies gradients into features: exact, for small models and for checks.

    Attributes
    ----------
    proj_dim
        p, the number of parameters.
    """

    proj_dim: int
    name: str = "identity"
    version: int = 1

    def add(self, block: Tensor, offset: int, out: Tensor) -> None:
        """Add `block` (rows, length) to its place in `out` (rows, p); see `Projector.add`."""
        out[:, offset : offset + block.shape[1]] += block


@dataclass(frozen=True)
class SideBySideProjector:
    """Projects J gradients, given as one of J * p parameters, each by the same map.

    Attributes
    ----------
    each
        The map of one gradient.
    count
        J.
    num_parameters
        p.
    """

    each: Projector
    count: int
    num_parameters: int

    @property
    def name(self) -> str:
        """Return the name of the map."""
        return self.each.name

    @property
    def version(self) -> int:
        """Return the version of the map."""
        return self.each.version

    @property
    def proj_dim(self) -> int:
        """Return J * k."""
        return self.count * self.each.proj_dim

    def add(self, block: Tensor, offset: int, out: Tensor) -> None:
        """Add the projection of a slice to its gradient's columns; see `Projector.add`.

        A slice lies within one gradient.
        """
        gradient, within = divmod(offset, self.num_parameters)
        k = self.each.proj_dim
        self.each.add(block, within, out[:, gradient * k : (gradient + 1) * k])
