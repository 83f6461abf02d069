"""No projection: the feature is the gradient itself. Exact, for small models and for checks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class IdentityProjector:
    """Copies gradients into features.

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
