"""One projector for several gradients of a sample, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dtrak_stream.projectors.projector import Projector


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
