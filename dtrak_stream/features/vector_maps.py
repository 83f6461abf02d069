"""What turns a vector of an image (its pixels, an embedding) into a row of a store.

==========  =====================================================================================
linear      a random projection P^T u, or u itself: rows multiply as the vectors do
Fourier     psi(u) = sqrt(2/D) [cos w_d . u, sin w_d . u], d = 1 ... D/2, with w_d ~ N(0, I/m):
            rows multiply to exp(-|u - v|^2 / 2m) in the mean over w (Rahimi and Recht 2007),
            with an error of sqrt(1/D) or so, and every row has length 1
==========  =====================================================================================

The kernel does not change where a constant is subtracted from every u, so none is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dtrak_stream.features.names import FOURIER, fourier_inside
from dtrak_stream.features.options import DEFAULT_PROJ_DIM, FeatureOptions, own_or
from dtrak_stream.projectors.dense import NormalProjector
from dtrak_stream.projectors.projector import Projector
from dtrak_stream.projectors.table import ProjectorName, make_projector, require_proj_dim

LONGEST_WITHIN = 4096
"""Numbers of a vector beyond which Fourier features are of a sketch of it, of this length."""


class VectorMap(Protocol):
    """Maps vectors to rows, each by itself."""

    @property
    def width(self) -> int:
        """Return k, how many numbers a row has."""

    def name_of(self, vector: str) -> str:
        """Return the output function that rows of the vectors called `vector` are of."""

    def identity(self) -> dict[str, object]:
        """Return the fields of a fingerprint that it decides."""

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the rows of vectors: (B, length) -> (B, k) float32 on the same device."""


@dataclass(frozen=True)
class LinearMap:
    """Projects a vector.

    Attributes
    ----------
    projector
        The projection.
    seed
        Its seed.
    """

    projector: Projector
    seed: int

    @property
    def width(self) -> int:
        """Return k, the length of a projection."""
        return self.projector.proj_dim

    def name_of(self, vector: str) -> str:
        """Return the name itself; see `VectorMap.name_of`."""
        return vector

    def identity(self) -> dict[str, object]:
        """Return the projector, and its seed where it is random."""
        return {
            "seed": self.seed if self.projector.name != "identity" else 0,
            "projector": self.projector.name,
            "projector_version": self.projector.version,
            "proj_dim": self.projector.proj_dim,
        }

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return P^T u of each vector u: (B, length) -> (B, k)."""
        return _projected(self.projector, vectors)


@dataclass(frozen=True)
class FourierMap:
    """Takes random Fourier features of a vector, of a sketch of it where it is long.

    Their frequencies are a function of (seed, place in the vector, d) alone, up to the bandwidth:
    those of a smaller D are the first ones of a larger.

    Attributes
    ----------
    shortening
        What comes first: the vector itself, or a sketch of it.
    width
        D, how many numbers a row has: an even number.
    seed
        Seed of frequencies and sketch.
    bandwidth
        m, the squared distance at which two vectors have the kernel exp(-1/2).
    """

    shortening: Projector
    width: int
    seed: int
    bandwidth: float

    def name_of(self, vector: str) -> str:
        """Return `rff(...)` of the name; see `VectorMap.name_of`."""
        return f"rff({vector})"

    def identity(self) -> dict[str, object]:
        """Return frequencies, bandwidth and what comes first."""
        short = self.shortening
        before = "" if short.name == "identity" else f"{short.name} of {short.proj_dim}, "
        return {
            "seed": self.seed,
            "projector": f"{before}{FOURIER}",
            "projector_version": 1,
            "proj_dim": self.width,
            "bandwidth": self.bandwidth,
        }

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return psi(u) of each vector u: (B, length) -> (B, D)."""
        pairs = self.width // 2
        scale = math.sqrt(pairs / self.bandwidth)  # entries have variance 1 / pairs
        short = _projected(self.shortening, vectors) * scale
        angles = _projected(NormalProjector(pairs, self.seed), short)  # (B, m) -> (B, D / 2)
        return torch.cat([angles.cos(), angles.sin()], dim=1) / math.sqrt(pairs)


def shortening_of(length: int, seed: int) -> Projector:
    """Return what comes before Fourier features of vectors of this length."""
    name = "identity" if length <= LONGEST_WITHIN else "sketch"
    return make_projector(name, proj_dim=LONGEST_WITHIN, seed=seed, num_parameters=length)


def map_to_rows(
    length: int,
    options: FeatureOptions,
    *,
    default: ProjectorName,
    bandwidth: float | None,
    find_bandwidth: Callable[[LinearMap], float],
) -> VectorMap:
    """Return what turns vectors of this length into rows, as the options say.

    Parameters
    ----------
    length
        Numbers of a vector.
    options
        What a feature is.
    default
        The projector of features that are not random Fourier features, unless the options name one.
    bandwidth
        That of Fourier features, where it was found before.
    find_bandwidth
        Returns that of vectors that went through the map it is given; asked for Fourier features
        alone, and where neither the options nor an earlier search tells.

    Raises
    ------
    ConfigurationError
        If an option has no such value.
    """
    width, seed = own_or(options.proj_dim, DEFAULT_PROJ_DIM), options.seed
    if fourier_inside(options.output_function) is None:
        name = options.projector or default
        return LinearMap(
            make_projector(name, proj_dim=width, seed=seed, num_parameters=length), seed
        )
    bandwidth = options.bandwidth or bandwidth
    if bandwidth is None:
        bandwidth = find_bandwidth(LinearMap(shortening_of(length, seed), seed))
    return fourier_map(length, width=width, seed=seed, bandwidth=bandwidth)


def fourier_map(length: int, *, width: int, seed: int, bandwidth: float) -> FourierMap:
    """Return Fourier features of vectors of this length.

    Raises
    ------
    ConfigurationError
        If D is not a multiple of 64 from 64 to 65,536.
    """
    require_proj_dim(width)
    return FourierMap(shortening_of(length, seed), width, seed, bandwidth)


def _projected(projector: Projector, vectors: Tensor) -> Tensor:
    out = torch.zeros(len(vectors), projector.proj_dim, device=vectors.device)
    projector.add(vectors, 0, out)
    return out
