"""What a gradient engine gives: per-sample gradients as a stream of parameter slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class GradientSlice:
    """A rectangle of the (samples, parameters) matrix of gradients, which never exists whole.

    Attributes
    ----------
    first_row
        Row of the first sample of the block among the images that were given.
    offset
        Position of the first parameter of the block in the flat parameter vector.
    block
        (rows, length) float32 on the model's device: gradients of f averaged over timesteps and
        draws. Valid until the next slice is asked for.
    """

    first_row: int
    offset: int
    block: Tensor


class GradientEngine(Protocol):
    """Streams per-sample gradients. Knows nothing of projectors or files."""

    @property
    def num_parameters(self) -> int:
        """Return p, the length of one sample's gradient."""

    def stream(self, images: Tensor, sample_ids: Sequence[str]) -> Iterator[GradientSlice]:
        """Yield slices that together cover every (sample, parameter) exactly once.

        Parameters
        ----------
        images
            (B, C, H, W) float32 in [-1, 1].
        sample_ids
            B ids, for noise that is keyed by sample.
        """
