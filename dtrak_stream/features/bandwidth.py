"""The bandwidth of random Fourier features: the median squared distance of pairs of images.

Of the training images, by a sample of 1,000 of them that depends on the seed and their number
alone. Queries are compared with features of the same bandwidth, so it is kept with a store.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dtrak_stream.data.samples import SampleBatch, Samples, joined, read_batch
from dtrak_stream.errors import InputError
from dtrak_stream.support.progress import progress, say
from dtrak_stream.support.random_bits import BITS_PER_WORD, StreamKey, random_words

SAMPLED = 1000
_DIGITS = 3  # more are noise of the sample, and would differ from machine to machine


def median_bandwidth(
    samples: Samples,
    vectors: Callable[[SampleBatch], Tensor],
    seed: int,
    *,
    together: int = 1,
    visible: bool,
) -> float:
    """Return the bandwidth that suits the vectors of some samples, to three digits; tells it.

    Parameters
    ----------
    samples
        All images.
    vectors
        Returns (B, length), what the features are taken of.
    seed
        Seed of which images are looked at, where there are more than 1,000.
    together
        Images that `vectors` is given at a time.
    visible
        Whether to show a progress bar.

    Raises
    ------
    InputError
        If fewer than two images can be used, or more than half of the pairs are of equal ones.
    """
    found = _sampled_vectors(samples, vectors, seed, together, visible=visible)
    median = float(np.median(squared_distances(found))) if len(found) > 1 else 0.0
    bandwidth = float(f"{median:.{_DIGITS}g}")
    if not 0 < bandwidth < float("inf"):
        raise InputError(
            "too few of the images differ to tell the bandwidth of Fourier features",
            where=f"{len(found)} images",
            remedy="give it, --bandwidth M: the squared distance of two images far apart",
        )
    say(f"bandwidth {bandwidth:g}, the median squared distance of {len(found):,} of the images")
    return bandwidth


def sampled_places(count: int, seed: int) -> list[int]:
    """Return the places of at most 1,000 of `count` samples: one at random in each equal part."""
    if count <= SAMPLED:
        return list(range(count))
    parts = torch.arange(SAMPLED)
    words = random_words(StreamKey("bandwidth", seed), (parts, 0, 0, 0))[:, 0]
    edges = torch.arange(SAMPLED + 1) * count // SAMPLED
    widths = edges.diff()
    places: list[int] = (edges[:-1] + (words * widths >> BITS_PER_WORD)).tolist()
    return places


def squared_distances(vectors: Tensor) -> np.ndarray:
    """Return |u - v|^2 of all pairs of (n, length) vectors: (n (n - 1) / 2,) float64."""
    rows = vectors.double()
    lengths = rows.square().sum(dim=1)
    squares = lengths[:, None] + lengths - 2 * rows @ rows.T  # (n, m) @ (m, n) -> (n, n)
    first, second = np.triu_indices(len(rows), k=1)
    pairs: np.ndarray = squares.clamp(min=0).numpy()[first, second]
    return pairs


def _sampled_vectors(
    samples: Samples,
    vectors: Callable[[SampleBatch], Tensor],
    seed: int,
    together: int,
    *,
    visible: bool,
) -> Tensor:
    places = sampled_places(len(samples), seed)
    found: list[Tensor] = []
    with progress(len(places), description="bandwidth", unit="img", visible=visible) as bar:
        for first in range(0, len(places), together):
            some = places[first : first + together]
            read = (read_batch(samples, range(place, place + 1))[0] for place in some)
            usable = [batch for batch in read if len(batch)]
            if usable:
                found.append(vectors(joined(usable)).cpu())
            bar.update(len(some))
    return torch.cat(found) if found else torch.empty(0, 0)
