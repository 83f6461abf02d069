"""What a gradient engine gives: per-sample gradients as a stream of parameter slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from torch import Tensor

from dtrak_stream.data.samples import SampleBatch


@dataclass(frozen=True)
class GradientSlice:
    """A rectangle of the (samples, parameters) matrix of gradients, which never exists whole.

    Attributes
    ----------
    first_row
        Row of the first sample of the block among the samples that were given.
    offset
        Position of the first parameter of the block in the flat parameter vector.
    block
        (rows, length) float32 on the model's device: gradients of f averaged over timesteps and
        draws, or a summand of them. Valid only until the receiver returns, who may overwrite it.
    """

    first_row: int
    offset: int
    block: Tensor


Receiver: TypeAlias = Callable[[GradientSlice], None]
"""Takes one slice. What it makes of it must be linear: slices that overlap are summed."""


class GradientEngine(Protocol):
    """Streams per-sample gradients. Knows nothing of projectors or files."""

    @property
    def name(self) -> str:
        """Return the name it has on the command line."""

    @property
    def num_parameters(self) -> int:
        """Return p, the length of one sample's gradient."""

    @property
    def pairs_per_pass(self) -> int:
        """Return the largest number of (sample, timestep, draw) triples in one pass."""

    def with_pairs_per_pass(self, pairs: int) -> GradientEngine:
        """Return the same engine with another number of triples; this one is used no more."""

    def close(self) -> None:
        """Leave the network as it was found."""

    def stream(self, samples: SampleBatch, receive: Receiver) -> None:
        """Hand on slices whose sum is the gradient of every sample; what never comes is zero.

        Slices come while the backward pass runs, so that no more than a part of the gradient
        exists at a time.

        Parameters
        ----------
        samples
            B samples: images, or sampling paths where the task is along one.
        receive
            Takes each slice.
        """
